"""Where connections, rates, failures and logins are counted: in this process, or over several (shared/tables.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from lanmail.accounts.login_memory import LoginMemory, LoginsHere
from lanmail.accounts.rates import Allowances, Buckets
from lanmail.accounts.throttle import Failures, FailuresHere
from lanmail.admission import Present, PresentHere
from lanmail.anvil import Windows, WindowsHere

# Devices that send without a login: as many as a table has room for.
DEVICES = 10_000
HOUSE = "house"


class Counting(Protocol):
    """A table for each thing that is counted. shared.Tables is one."""

    def present(self, name: str, /) -> Present:
        """At the door of that name; at all of them together, HOUSE."""

    def windows(self, service: str, /) -> Callable[[str], Windows]:
        """Of each kind of event at that door."""

    def failures(self, of: str, /) -> Failures:
        """Of ``addresses``, or ``names``."""

    def buckets(self) -> Allowances:
        """Of devices."""

    def logins(self) -> LoginMemory: ...


class CountingHere:
    """Counting for one process."""

    def present(self, name: str) -> PresentHere:
        return PresentHere()

    def windows(self, service: str) -> Callable[[str], WindowsHere]:
        return lambda what: WindowsHere()

    def failures(self, of: str) -> FailuresHere:
        return FailuresHere()

    def buckets(self) -> Buckets:
        return Buckets(DEVICES)

    def logins(self) -> LoginsHere:
        return LoginsHere()
