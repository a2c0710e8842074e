"""What the clients and the other program know of each letter, and so what must be found after a kill."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


@dataclass
class Page:
    """One mailbox. Letters are known by their tokens."""

    standing: set[str] = field(default_factory=set)  # promised, or seen
    sessions: list[set[str]] = field(default_factory=list)  # what each deleted whose QUIT was not answered
    partly: set[str] = field(default_factory=set)  # deleted in a session whose QUIT was answered with -ERR
    gone: dict[str, int] = field(
        default_factory=dict
    )  # deleted by an answered QUIT, or by the other program; since when
    uidls: dict[str, str] = field(default_factory=dict)  # of all that was ever seen
    owners: dict[str, str] = field(default_factory=dict)  # whose each UIDL was


_UNTOLD = ("now", "known")


def together(method: Callable[Concatenate[Books, P], T]) -> Callable[Concatenate[Books, P], T]:
    """Called by many threads."""

    @wraps(method)
    def alone(books: Books, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with books.mutex:
            if method.__name__ not in _UNTOLD:
                books.trail.append(f"{time.time():.3f} {method.__name__} {args} {kwargs or ''}")
            return method(books, *args, **kwargs)

    return alone


class Books:
    """Kept by all clients while they work; ``audit`` compares, and goes on with what was found.

    Its faults are sentences, one for each broken promise; so are those of what a client was shown.
    """

    def __init__(self, users: Iterable[str]) -> None:
        self.mutex = threading.Lock()
        self.pages = {user: Page() for user in users}
        self.counts: Counter[str] = Counter()
        self.trail: deque[str] = deque(maxlen=50_000)  # what was noted last, for whoever looks into a fault
        self._moment = 0
        self._open: dict[str, Sequence[str]] = {}  # sent, and neither answered nor seen yet

    # a client that sends

    @together
    def sending(self, token: str, to: Sequence[str]) -> None:
        self._open[token] = to
        self.counts["sent"] += 1

    @together
    def answered(self, token: str) -> None:
        """With 250."""
        self._promise(token)
        self.counts["answered"] += 1

    # a client that fetches

    @together
    def now(self) -> int:
        """A moment, for ``fetched``."""
        return self._moment

    @together
    def known(self, user: str, uidl: str) -> str:
        """The token of a letter that was seen before; empty for a new one."""
        return self.pages[user].owners.get(uidl, "")

    @together
    def fetched(self, user: str, letters: Sequence[tuple[str, str]], since: int) -> list[str]:
        """Token and UIDL of all that one session was shown, which began at that moment. What is wrong with it."""
        page = self.pages[user]
        faults = self._shown(user, letters)
        shown = {token for token, _ in letters}
        for session in [
            one for one in page.sessions if one & shown
        ]:  # of the process before this one, which did not come to do it
            faults += self._halves(user, page, session, shown)
            page.sessions.remove(session)
        for token in shown:
            if token in page.gone:
                if page.gone[token] <= since:
                    faults.append(f"{user}: {token} was deleted, and a client is shown it")
                continue
            self._promise(token)
            page.standing.add(token)
        return faults

    @together
    def deleting(self, user: str, tokens: Collection[str]) -> None:
        """QUIT is said next."""
        self.pages[user].sessions.append(set(tokens))

    @together
    def deleted(self, user: str, tokens: Collection[str], *, well: bool) -> None:
        """QUIT was answered. well: with +OK."""
        page = self.pages[user]
        page.sessions.remove(set(tokens))
        if well:
            self._remove(page, tokens)
            self.counts["deleted"] += len(tokens)
        else:
            page.partly.update(tokens)

    # the other program

    @together
    def put(self, user: str, token: str) -> None:
        """It has appended one of its own."""
        self.pages[user].standing.add(token)
        self.counts["put"] += 1

    @together
    def taken(self, user: str, token: str) -> None:
        """It has seen a letter and taken it out."""
        self._promise(token)
        self._remove(self.pages[user], [token])
        self.counts["taken"] += 1

    # after a kill

    @together
    def audit(self, found: Mapping[str, Sequence[tuple[str, str]]]) -> list[str]:
        """Token and UIDL of what stands in each mailbox, when nobody works on them and nothing waits. What is wrong with it."""
        faults = []
        tokens = {user: {token for token, _ in letters} for user, letters in found.items()}
        for token, to in self._open.items():
            faults += self._unanswered(token, to, tokens)
        self._open.clear()
        for user, page in self.pages.items():
            faults += self._shown(user, found[user])
            faults += self._compare(user, page, tokens[user])
        return faults

    # within

    def _promise(self, token: str) -> None:
        """From now on it must be in every mailbox that it went to."""
        to = self._open.pop(token, None)
        if to is None:
            return
        for user in to:
            page = self.pages[user]
            if token not in page.gone:
                page.standing.add(token)

    def _remove(self, page: Page, tokens: Iterable[str]) -> None:
        self._moment += 1
        for token in tokens:
            page.standing.discard(token)
            page.gone.setdefault(token, self._moment)

    def _shown(self, user: str, letters: Sequence[tuple[str, str]]) -> list[str]:
        page = self.pages[user]
        faults = []
        for token, count in Counter(token for token, _ in letters).items():
            if count > 1:
                faults.append(f"{user}: {token} is there {count} times")
        for token, uidl in letters:
            known = page.uidls.setdefault(token, uidl)
            if known != uidl:
                faults.append(f"{user}: {token} had the UIDL {known}, and has {uidl}")
            owner = page.owners.setdefault(uidl, token)
            if owner != token:
                faults.append(f"{user}: {token} has the UIDL {uidl}, which was that of {owner}")
        return faults

    def _unanswered(self, token: str, to: Sequence[str], found: Mapping[str, set[str]]) -> list[str]:
        """In all of its mailboxes, and from now on promised, or in none, and then it never comes any more."""
        there = [user for user in to if token in found[user]]
        for user in to:
            if there:
                self.pages[user].standing.add(token)
            else:
                self.pages[user].gone[token] = self._moment
        if not there:
            return []
        self.counts["unanswered, and there"] += 1
        missing = sorted(set(to) - set(there))
        return [f"{token} was not answered, and is with {there} and not with {missing}"] if missing else []

    @staticmethod
    def _halves(user: str, page: Page, session: set[str], found: set[str]) -> list[str]:
        """A mailbox is as before an expunge or as after it; what the other program took meanwhile aside."""
        left = session - page.gone.keys()
        there = len(left & found)
        return (
            [f"{user}: of what one session deleted {there} of {len(left)} are there"] if 0 < there < len(left) else []
        )

    def _compare(self, user: str, page: Page, found: set[str]) -> list[str]:
        faults = [f"{user}: {token} was deleted, and is there again" for token in sorted(found & page.gone.keys())]
        for session in page.sessions:
            faults += self._halves(user, page, session, found)
        perhaps = page.partly.union(*page.sessions)
        faults += [f"{user}: {token} is lost" for token in sorted(page.standing - found - perhaps)]
        strange = found - page.standing - page.gone.keys()
        faults += [f"{user}: {token} is there, and nobody has sent it" for token in sorted(strange)]
        self._remove(page, perhaps - found)
        page.sessions, page.partly = [], set()
        page.standing = found - page.gone.keys()
        return faults
