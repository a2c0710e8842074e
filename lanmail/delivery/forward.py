"""Users' .forward files, remembered for a moment: where each user has their mail sent.

A home may lie on a server that is down. Nobody waits for it longer than ``patience``, and whether there is a .forward is then not
known: the mail is told to come later, rather than put where its reader did not want it.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from lanmail.config.syntax import decoded
from lanmail.delivery.alias_syntax import Forward, forward
from lanmail.interfaces import ForwardFile, ForwardFiles, Report, User
from lanmail.status import Status, TemporaryFailure

NOT_NOW = Status(451, "4.3.0", "It cannot be seen now where this mail is to go, try again later")

# Postfix's forward_expansion_filter without the slash: every other character of a tag becomes "_".
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9!@%=+:,.^_-]")
_LONGEST_NAME = 255  # NAME_MAX

Key = tuple[str, tuple[str, ...]]


def _has_tag(names: Sequence[str]) -> bool:
    return names[0] != ".forward"


@dataclass(frozen=True, slots=True)
class _Remembered:
    """What was found, or None for no file that counts."""

    until: float
    forward: Forward | None


class ForwardsOfUsers:
    """members.Forwards over interfaces.ForwardFiles.

    tagged, plain: which files count (``forward_path``): ``.forward+tag`` for an address with a tag, before ``.forward`` for any.
    patience: seconds after which whoever asks is told TemporaryFailure (451 4.3.0), whatever the look-up is doing.
    lasting: seconds for which an answer is remembered, and for which a change goes unseen. trouble_lasting: the same for a look-up that
        failed, so that mail for one dead home does not keep every helper waiting.
    room: how many answers are remembered. look_ups: how many may be under way at once; per_user: for tags of one user, since a stranger
        may ask for as many as they please. Mail without a tag does not wait for theirs.
    """

    def __init__(
        self,
        read: ForwardFiles,
        clock: IReactorTime,
        report: Report,
        *,
        tagged: bool = True,
        plain: bool = True,
        patience: float = 10.0,
        lasting: float = 1.0,
        trouble_lasting: float = 5.0,
        room: int = 1_000,
        look_ups: int = 64,
        per_user: int = 4,
    ) -> None:
        self._read = read
        self._clock = clock
        self._report = report
        self._tagged = tagged
        self._plain = plain
        self._patience = patience
        self._lasting = lasting
        self._trouble_lasting = trouble_lasting
        self._room = room
        self._look_ups = look_ups
        self._per_user = per_user
        self._memory: OrderedDict[Key, _Remembered] = OrderedDict()  # the oldest first
        self._under_way: dict[Key, list[Deferred[Forward | None]]] = {}
        self._trouble: OrderedDict[str, float] = OrderedDict()  # until when, by user
        self._told: OrderedDict[tuple[str, str], str] = OrderedDict()

    async def __call__(self, user: User, tag: str, /) -> Forward | None:
        """members.Forwards."""
        names = self._names(tag)
        if not names or not user.home.startswith("/") or user.uid == 0:
            return None
        key = (user.name, names)
        known = self._memory.get(key)
        now = self._clock.seconds()
        if known is not None and now < known.until:
            return known.forward
        if now < self._trouble.get(user.name, now):
            raise TemporaryFailure(NOT_NOW)
        return await self._asked(key, user, names)

    def _names(self, tag: str) -> tuple[str, ...]:
        names = [".forward"] if self._plain else []
        if self._tagged and tag and "/" not in tag:
            name = f".forward{_NOT_IN_A_NAME.sub('_', tag)}"
            names[:0] = [name] if len(name) <= _LONGEST_NAME else []
        return tuple(names)

    async def _asked(self, key: Key, user: User, names: Sequence[str]) -> Forward | None:
        """From the home, together with everybody else who waits for that."""
        if key not in self._under_way:
            tags = sum(name == user.name and _has_tag(files) for name, files in self._under_way)
            if len(self._under_way) >= self._look_ups or (_has_tag(names) and tags >= self._per_user):
                raise TemporaryFailure(NOT_NOW)
            self._under_way[key] = []
            answer = self._waiter(key)
            Deferred.fromCoroutine(self._look_up(key, user, names))
        else:
            answer = self._waiter(key)
        try:
            return await answer.addTimeout(self._patience, self._clock)
        except Exception as error:
            raise TemporaryFailure(NOT_NOW) from error

    def _waiter(self, key: Key) -> Deferred[Forward | None]:
        """Each who waits has one of their own, and may stop waiting."""
        answer: Deferred[Forward | None] = Deferred()
        self._under_way[key].append(answer)
        return answer

    async def _look_up(self, key: Key, user: User, names: Sequence[str]) -> None:
        """One look-up to its end, whoever still waits for it. Raises nothing."""
        try:
            found = self._understood(user, await self._read(user, names))
        except Exception as error:
            self._report(
                "warning: cannot look for {file} of {user}: {error}", file=names[-1], user=user.name, error=error
            )
            self._trouble[user.name] = self._clock.seconds() + self._trouble_lasting
            self._trouble.move_to_end(user.name)
            if len(self._trouble) > self._room:
                self._trouble.popitem(last=False)
            for answer in self._under_way.pop(key):
                answer.errback(TemporaryFailure(NOT_NOW))
        else:
            self._trouble.pop(user.name, None)
            self._remember(key, _Remembered(self._clock.seconds() + self._lasting, found))
            for answer in self._under_way.pop(key):
                answer.callback(found)

    def _remember(self, key: Key, answer: _Remembered) -> None:
        self._memory.pop(key, None)
        self._memory[key] = answer
        now = self._clock.seconds()
        while len(self._memory) > self._room or next(iter(self._memory.values())).until < now:
            self._memory.popitem(last=False)

    def _understood(self, user: User, file: ForwardFile | None) -> Forward | None:
        if file is None:
            return None
        if file.refused:
            self._tell(user, file.name, f"{file.refused}; it does not count")
            return None
        said = forward(file.name, decoded(file.text).removeprefix("\ufeff"))
        shown = "; ".join(said.problems[:5])
        self._tell(user, file.name, f"line {shown}; the mailbox gets the mail as well" if said.problems else "")
        return said if said.members or said.discards else None

    def _tell(self, user: User, name: str, trouble: str) -> None:
        """Once for each state of the file: it may be read at every message."""
        before = self._told.pop((user.name, name), "")
        if trouble:
            self._told[user.name, name] = trouble
            if len(self._told) > self._room:
                self._told.popitem(last=False)
            if trouble != before:
                self._report("warning: {name} of {user}: {trouble}", name=name, user=user.name, trouble=trouble)
