"""What the root parent is there for, said to it once, before the service gives root up: from then on nothing can be added."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields


class BadDuties(ValueError):
    """What came is no description of duties."""


@dataclass(frozen=True, slots=True)
class Duties:
    """Where it may do what.

    pam_service: whose passwords are checked; empty for none. pam_folder: what the ``pam`` module is imported from.
    spool: ``mail_spool_directory``. uids: ranges of those who have a mailbox there, both ends in them (``user_ids``).
    group: the gid of new mailboxes, None for their owner's own. fcntl, flock: which locks a new one is born with.
    files: whole paths of files that are handed over, opened for reading. Which of them is said by its place in this list.
    signer: ``module:function`` of who signs our certificate, ``function(request: bytes, argument: str) -> bytes``; empty for
        nobody. argument: what it is called with, whoever asks. folders: where its modules are imported from.
    most: how many helpers there may be at once, all kinds together. time_limit: seconds for a helper's one answer, as a last
        resort: whoever asked gives up before.
    """

    spool: str
    uids: Sequence[tuple[int, int]]
    pam_service: str = ""
    pam_folder: str = ""
    group: int | None = None
    fcntl: bool = True
    flock: bool = False
    files: Sequence[str] = ()
    signer: str = ""
    argument: str = ""
    folders: Sequence[str] = ()
    most: int = 64
    time_limit: float = 60.0

    def __post_init__(self) -> None:
        if any(not path.startswith("/") for path in (self.spool, *self.files)):
            raise BadDuties("a path that is not whole")

    def is_person(self, uid: int) -> bool:
        """Whether somebody with this uid has a mailbox by their name."""
        return uid != 0 and any(first <= uid <= last for first, last in self.uids)

    def text(self) -> bytes:
        """For the channel."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def of(cls, text: bytes) -> Duties:
        """What ``text`` gave. BadDuties."""
        try:
            said = json.loads(text)
            if set(said) != {field.name for field in fields(cls)}:
                raise BadDuties("duties of another version")
            said["uids"] = tuple((int(first), int(last)) for first, last in said["uids"])
            return cls(**said | {"files": tuple(said["files"]), "folders": tuple(said["folders"])})
        except (AttributeError, TypeError, ValueError, KeyError, OverflowError, RecursionError) as error:
            raise BadDuties(str(error)) from None
