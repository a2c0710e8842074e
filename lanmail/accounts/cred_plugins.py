"""Our checkers for any program that takes Twisted's ``--auth``: ``pam:SERVICE`` and ``mailpasswd:PATH``.

The plugin file names them and imports nothing; this module is loaded when one is really wanted. In these programs nobody
hands anything in, so the reactor is the global one.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from lanmail.accounts.checkers import PasswordChecker
from lanmail.accounts.pam import SystemGuards, service_problem
from lanmail.accounts.passwd_file import PasswdFile
from lanmail.accounts.sources import AccountList
from lanmail.accounts.throttle import Throttle
from lanmail.config.kinds import UserIds
from lanmail.interfaces import P, T

_log = Logger("accounts")

_PEOPLE = UserIds(((1000, 65533), (65535, 4294967293)))


def pam_checker(service: str) -> PasswordChecker:
    """For ``--auth pam:SERVICE``; ``lanmail`` where none is said. ValueError, with a sentence, for a service that is missing."""
    from twisted.internet import reactor

    clock: Any = reactor
    problem = service_problem(service or "lanmail")
    if problem is not None:
        raise ValueError(problem)
    guards = SystemGuards(clock, service or "lanmail", _report)
    clock.callWhenRunning(guards.start)
    clock.addSystemEventTrigger("during", "shutdown", guards.stop)
    return PasswordChecker(AccountList([guards.accounts(clock, _PEOPLE, _report)]), (), Throttle(clock))


def passwd_file_checker(path: str) -> PasswordChecker:
    """For ``--auth mailpasswd:PATH``. ValueError, with a sentence, for a file that cannot be used."""
    from twisted.internet import reactor

    clock: Any = reactor
    if not path:
        raise ValueError("mailpasswd wants the path of a file: mailpasswd:PATH")
    accounts = PasswdFile(os.path.abspath(path), os.getuid(), os.getgid(), _in_thread, clock, _report)
    problem = accounts.unusable()
    if problem is not None:
        raise ValueError(problem)
    return PasswordChecker(AccountList([accounts]), (), Throttle(clock))


def _in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
    return deferToThread(work, *args, **kwargs)


def _report(line: str, /, **fields: object) -> None:
    (_log.warn if line.startswith("warning:") else _log.info)(line, **fields)
