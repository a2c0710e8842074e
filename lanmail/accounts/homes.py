"""Users' homes, in which only they may read everything: what we need from there is read as their owner, by the guard's helpers."""

from __future__ import annotations

from collections.abc import Sequence

from lanmail.accounts.guard import Guard, GuardTrouble
from lanmail.accounts.helper import READ_FORWARD
from lanmail.interfaces import ForwardFile, ForwardFiles, User


def forward_files(guard: Guard) -> ForwardFiles:
    """interfaces.ForwardFiles, through helpers that are root and become the user for it. GuardTrouble."""

    async def read(user: User, names: Sequence[str], /) -> ForwardFile | None:
        files = [name.encode("ascii") for name in names]
        answer = await guard.ask(READ_FORWARD, user.name.encode("ascii"), b"%d" % user.uid, *files, name=user.name)
        match answer.yes, [*answer.fields]:
            case True, [name, text]:
                return ForwardFile(name.decode("ascii", "replace"), text)
            case False, [name, reason]:
                return ForwardFile(name.decode("ascii", "replace"), refused=reason.decode("utf-8", "replace"))
            case False, []:
                return None
        raise GuardTrouble("it answered with noise")

    return read
