"""Everything that takes octets from somebody else, each with what must hold of it."""

from __future__ import annotations

from tests.fuzz.targets import channels, conversations, files, letters, mailboxes, words

TARGETS = (
    *conversations.TARGETS,
    *mailboxes.TARGETS,
    *letters.TARGETS,
    *files.TARGETS,
    *words.TARGETS,
    *channels.TARGETS,
)
