"""Our checkers for any program that takes Twisted's ``--auth``: ``pam:SERVICE`` and ``mailpasswd:PATH``.

The plugin file names them and imports nothing of ours; this module is loaded when one is really wanted.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.threads import deferToThread

from lanmail.accounts.checkers import PasswordChecker
from lanmail.accounts.pam import SystemGuards, service_problem
from lanmail.accounts.passwd_file import PasswdFile
from lanmail.accounts.sources import AccountList
from lanmail.accounts.throttle import Throttle
from lanmail.config.kinds import UserIds
from lanmail.interfaces import P, T
from lanmail.maillog import Logger

_log = Logger("accounts")
_logins = Logger("auth")

_PEOPLE = UserIds(((1000, 65533), (65535, 4294967293)))


def pam_checker(service: str, reactor: Any) -> PasswordChecker:
    """For ``--auth pam:SERVICE``; ``lanmail`` where none is said. ValueError, with a sentence, for a service that is missing."""
    problem = service_problem(service or "lanmail")
    if problem is not None:
        raise ValueError(problem)
    guards = SystemGuards(reactor, service or "lanmail", _log.report)
    reactor.callWhenRunning(guards.start)
    reactor.addSystemEventTrigger("during", "shutdown", guards.stop)
    return PasswordChecker(
        AccountList([guards.accounts(reactor, _PEOPLE, _log.report)]), (), Throttle(reactor), _logins.report
    )


def passwd_file_checker(path: str, reactor: Any) -> PasswordChecker:
    """For ``--auth mailpasswd:PATH``. ValueError, with a sentence, for a file that cannot be used."""
    if not path:
        raise ValueError("mailpasswd wants the path of a file: mailpasswd:PATH")
    accounts = PasswdFile(os.path.abspath(path), os.getuid(), os.getgid(), _in_thread, reactor, _log.report)
    problem = accounts.unusable()
    if problem is not None:
        raise ValueError(problem)
    return PasswordChecker(AccountList([accounts]), (), Throttle(reactor), _logins.report)


def _in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
    return deferToThread(work, *args, **kwargs)
