"""What every part is handed: the settings, threads, time, the folder that is ours, and who may do what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from lanmail.config.parameters import Settings
from lanmail.interfaces import Alone, IColleagues
from lanmail.maillog import Logger
from lanmail.state import StateFolder
from lanmail.threads import Threads
from lanmail.wiring.counting import Counting, CountingHere
from lanmail.wiring.rights import Rights

P = ParamSpec("P")
T = TypeVar("T")

# Threads wait for disks, not for processors, and never for locks: this many keep one disk busy. Few of them are there until one does wait.
THREADS = 16

log = Logger("master")


class CannotStart(Exception):
    """Something that main.cf asks for cannot be had; the text says what."""


class Place:
    """Where the parts of one service are put together.

    settings: as they were read at the start. rights: who does what needs root. reactor: Twisted's. colleagues: the service's other
    processes, where there are any (``workers``). tables: what is counted together with them (shared.Tables).
    """

    def __init__(
        self,
        settings: Settings,
        state: StateFolder,
        rights: Rights,
        reactor: Any,
        colleagues: IColleagues | None = None,
        tables: Counting | None = None,
    ) -> None:
        self.settings = settings
        self.state = state
        self.rights = rights
        self.reactor = reactor
        self.colleagues: IColleagues = colleagues or Alone()
        self.counting: Counting = tables or CountingHere()
        self.threads = Threads(reactor, THREADS, "lanmail")

    def in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """interfaces.InThread."""
        return self.threads.run(work, *args, **kwargs)

    def sleep(self, seconds: float) -> Deferred[None]:
        """interfaces.Sleep."""
        return deferLater(self.reactor, seconds)
