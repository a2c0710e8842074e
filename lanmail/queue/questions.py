"""What may be asked of the queue, by ``lanmail queue`` through the control socket: the questions, their form, and their limits.

A question is one line, a JSON object: ``{"verb": "hold", "ids": ["222CF6745D"]}``, with ``"ids": "ALL"`` for every message. The answer is
lines of JSON objects too: for ``list`` some ``{"messages": [...]}``, for ``show`` one ``{"message": ...}`` and then the text in pieces,
``{"text": BASE64}``. The last line, and only that, is ``{"ok": ...}`` or ``{"error": SENTENCE}``. No Twisted, no files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# A question with its line end. Some 4,600 queue ids go into one.
LONGEST_QUESTION = 64 * 1024
# More than a message with 10,000 recipients takes. The service is believed; this only keeps an error from becoming a full memory.
LONGEST_ANSWER = 16 * 1024 * 1024

CHANGES = ("flush", "hold", "release", "requeue", "delete")
VERBS = ("ping", "list", "show", *CHANGES)
ALL = "ALL"

_ENCODER = json.JSONEncoder(separators=(",", ":"))
_QUEUE_ID = re.compile(r"[0-9A-Fa-f]{10}\Z")


class BadQuestion(Exception):
    """It cannot be understood; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Question:
    """verb: one of VERBS. ids: upper case, each once; None for every message (``ALL``), and for ``ping`` and ``list``."""

    verb: str
    ids: tuple[str, ...] | None = None

    def line(self) -> bytes:
        ids: object = ALL if self.ids is None else self.ids
        return line_of({"verb": self.verb, "ids": ids} if self.verb in ("show", *CHANGES) else {"verb": self.verb})


def queue_id(text: str) -> str | None:
    """The queue id that somebody wrote, as we write it; None where it cannot be one."""
    return text.upper() if _QUEUE_ID.match(text) else None


def question_of(line: bytes) -> Question:
    """Raises BadQuestion. ``line`` may be anything."""
    try:
        said = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        raise BadQuestion("one JSON object is wanted, in UTF-8 and on one line") from None
    if not isinstance(said, dict):
        raise BadQuestion("a JSON object is wanted")
    verb = said.pop("verb", None)
    if not isinstance(verb, str) or verb not in VERBS:
        raise BadQuestion(f"verb must be one of {', '.join(VERBS)}")
    ids = said.pop("ids", None)
    if said:
        raise BadQuestion("an object has a verb, perhaps ids, and nothing else")
    if verb in ("ping", "list"):
        if ids is not None:
            raise BadQuestion(f"{verb} takes no ids")
        return Question(verb)
    if ids == ALL and verb != "show":
        return Question(verb)
    if not isinstance(ids, list) or not ids:
        raise BadQuestion("ids must be a list of queue ids" + ("" if verb == "show" else f', or "{ALL}"'))
    known = [queue_id(one) if isinstance(one, str) else None for one in ids]
    checked = tuple(dict.fromkeys(one for one in known if one is not None))
    if None in known:
        raise BadQuestion("a queue id is ten hexadecimal digits")
    if verb == "show" and len(checked) != 1:
        raise BadQuestion("show takes one queue id")
    return Question(verb, checked)


def line_of(said: Mapping[str, Any]) -> bytes:
    """One line of the socket, in ASCII whatever it says, with its end."""
    return _ENCODER.encode(said).encode("ascii") + b"\n"
