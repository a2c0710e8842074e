"""What the clients and the other program know at the moment of the cut, and so what must be found afterwards."""

from __future__ import annotations

import copy
import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from lanmail.mailbox.index import Index, refresh
from lanmail.mailbox.uidl import unique_ids
from tests.powercut.letters import foreign_text, pieces
from tests.powercut.recorder import Step


@dataclass
class Books:
    """``note`` every mark up to the cut; then ``faults`` of the mailboxes in a folder. Pairs are of a user and a token."""

    to: dict[str, list[str]] = field(default_factory=dict)  # whatever was ever sent
    promised: set[str] = field(default_factory=set)  # answered 250, or already fetched from a mailbox
    deleted: set[tuple[str, str]] = field(default_factory=set)  # QUIT was answered
    perhaps_deleted: set[tuple[str, str]] = field(default_factory=set)  # it was not, or not well
    uidls: dict[tuple[str, str], str] = field(default_factory=dict)
    foreign: set[tuple[str, str]] = field(default_factory=set)  # the other program's, synced
    foreign_begun: dict[str, str] = field(default_factory=dict)  # user: token; it has not said that it is done
    answered: int = 0

    def note(self, step: Step) -> None:
        said = json.loads(step.data)
        user, token = said.get("user", ""), said.get("token", "")
        pairs = {(user, each) for each in said.get("tokens", ())}
        match said["what"]:
            case "sending":
                self.to[token] = said["to"]
            case "answered":
                self.promised.add(token)
                self.answered += 1
            case "fetched":
                for each, uidl in said["uidls"].items():
                    self.uidls[user, each] = uidl
                    if each in self.to:
                        self.promised.add(each)
            case "deleting":
                self.perhaps_deleted |= pairs
            case "deleted":
                self.perhaps_deleted -= pairs
                self.deleted |= pairs
            case "foreign begins":
                self.foreign_begun[user] = token
            case "foreign done" | "foreign gave up":
                del self.foreign_begun[user]
                if said["what"] == "foreign done":
                    self.foreign.add((user, token))

    def closed(self) -> Books:
        """As they stand now: what is noted later does not change them."""
        return copy.deepcopy(self)

    def faults(self, spool: str, users: tuple[str, ...]) -> list[str]:
        """A sentence for each broken promise."""
        faults: list[str] = []
        counts: defaultdict[tuple[str, str], int] = defaultdict(int)
        for user in users:
            path = Path(spool, user)
            mailbox = path.read_bytes() if path.exists() else b""
            standing = pieces(mailbox)
            for token, _ in standing:
                counts[user, token] += bool(token)
            faults += self._torn(user, mailbox, standing)
            if not any(rest.strip(b"\n") for _, rest in standing):
                faults += self._renamed(user, path, standing)
        for token, to in self.to.items():
            faults += self._message(token, to, counts)
        for user, token in self.foreign:
            least = 0 if (user, token) in self.deleted | self.perhaps_deleted else 1
            most = 0 if (user, token) in self.deleted else 1
            if not least <= counts[user, token] <= most:
                faults.append(f"{user}: the other program's {token} is there {counts[user, token]} times")
        return faults

    def _message(self, token: str, to: list[str], counts: dict[tuple[str, str], int]) -> list[str]:
        faults = []
        promised = token in self.promised or any((user, token) in self.deleted for user in to)
        present = set()
        for user in to:
            count = counts[user, token]
            if (user, token) in self.deleted:
                if count:
                    faults.append(f"{user}: {token} was deleted, and is there again")
            elif count > 1:
                faults.append(f"{user}: {token} is there {count} times")
            elif (user, token) not in self.perhaps_deleted:
                present.add(count)
                if promised and not count:
                    faults.append(f"{user}: {token} is lost")
        if len(present) > 1 and not promised:
            faults.append(f"{token} was not answered, and is in some mailboxes only")
        return faults

    def _torn(self, user: str, mailbox: bytes, standing: list[tuple[str, bytes]]) -> list[str]:
        """What is in no whole message, unless it is of the message that the other program was writing when the power went."""
        rest = b"".join(rest for _, rest in standing)
        theirs = foreign_text(self.foreign_begun[user]) if user in self.foreign_begun else b""
        strange = [part for part in rest.strip(b"\n").split(b"\0") if part.strip(b"\n") not in theirs]
        if b"\0" in rest and not theirs:
            strange = strange or [b"NULs"]
        return [f"{user}: {len(rest)} octets are in no message: {part[:100]!r}" for part in strange[:1]]

    def _renamed(self, user: str, path: Path, standing: list[tuple[str, bytes]]) -> list[str]:
        if not standing or not standing[0][0]:
            return []
        with path.open("rb") as file:
            fd = file.fileno()
            index: Index = refresh(fd, path.stat(), None)
            found = unique_ids(fd, index, {})
        if len(found) != len(standing):
            return [f"{user}: {len(standing)} messages stand there, and POP3 would show {len(found)}"]
        return [
            f"{user}: {token} had the UIDL {self.uidls[user, token]}, and has {uidl}"
            for (token, _), uidl in zip(standing, found, strict=True)
            if self.uidls.get((user, token), uidl) != uidl
        ]
