"""Real users and PAM behind the checker and the remembered logins: what a refusal tells, and what a change of an account does. As root."""

from __future__ import annotations

import subprocess
import time

from twisted.cred.error import UnauthorizedLogin
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from lanmail.accounts.checkers import PasswordChecker
from lanmail.accounts.credentials import LoginCredentials
from lanmail.accounts.pam import SystemGuards
from lanmail.accounts.remembered import RememberedLogins
from lanmail.accounts.sources import AccountList
from lanmail.accounts.throttle import Throttle
from lanmail.accounts.watched import ACCOUNTS, FOLDERS, SETTLES, Watched
from lanmail.interfaces import Login, User
from lanmail.network import Peer
from tests.accounts.fakes import RememberingReport, begin, pam_service, system_user

UNIX = "auth required pam_unix.so\naccount required pam_unix.so\n"
PEOPLE = range(1000, 65534)


class _Real(TestCase):
    timeout = 60

    def accounts(self) -> AccountList:
        report = RememberingReport()
        guards = SystemGuards(reactor, pam_service(self, UNIX), report)
        self.addCleanup(guards.stop)
        return AccountList([guards.accounts(reactor, PEOPLE, report)])


class RefusalTests(_Real):
    async def test_unknown_wrong_locked_expired_and_foreign_are_one_refusal_at_one_time(self) -> None:
        """Each from an address of its own, all at once; the floor hides that a hash takes 33 ms and an unknown name less."""
        locked, expired = system_user(self, "locked", "x"), system_user(self, "expired", "x", "-e", "2001-01-01")
        subprocess.run(["usermod", "-L", locked], check=True)
        # Who must change the password first cannot: there is nobody to say it to.
        stale = system_user(self, "stale", "x")
        subprocess.run(["chage", "-d", "0", stale], check=True)
        tries = {
            "wrong password": (system_user(self, "wrong", "x"), b"y"),
            "unknown": ("lmnobody", b"x"),
            "locked": (locked, b"x"),
            "expired": (expired, b"x"),
            "password to be changed": (stale, b"x"),
            "a uid of the system's": (system_user(self, "daemon", "x", "-r"), b"x"),
            "root": ("root", b"x"),
            "impossible": ("../../etc/passwd", b"x"),
            "no password": (system_user(self, "none", "x"), b""),
        }
        report = RememberingReport()
        checker = PasswordChecker(self.accounts(), (), Throttle(reactor), report)
        began, times = time.monotonic(), {}
        under_way: list[Deferred[None]] = []

        async def refused(kind: str, name: str, password: bytes, host: str) -> None:
            try:
                await checker.requestAvatarId(LoginCredentials(name.encode(), password, Login("pop3", Peer(host))))
            except UnauthorizedLogin as refusal:
                self.assertEqual(refusal.args, (), kind)
                times[kind] = time.monotonic() - began
            else:
                self.fail(kind)

        for number, (kind, (name, password)) in enumerate(tries.items()):
            under_way.append(begin(refused(kind, name, password, f"192.168.1.{number}")))
        for each in under_way:
            await each
        self.assertEqual(set(times), set(tries))
        self.assertGreaterEqual(min(times.values()), 1.0)
        self.assertLess(max(times.values()) - min(times.values()), 0.5, times)
        for number, (name, _) in enumerate(tries.values()):
            line = f"login refused: client=192.168.1.{number}, service=pop3, user=<{name}>"
            self.assertEqual(report.lines.count(line), 1, line)


class RememberedTests(_Real):
    async def test_a_change_by_passwd_usermod_or_chage_counts_from_the_next_login_on(self) -> None:
        ann = system_user(self, "ann", "old")
        accounts, checked = self.accounts(), []

        class Counting:
            async def user_of(self, name: str | None, password: bytes, login: Login) -> User | None:
                checked.append(name)
                return await accounts.user_of(name, password, login)

        logins = RememberedLogins(
            Counting(),
            accounts,
            Watched(ACCOUNTS, FOLDERS),
            deferToThread,
            RememberingReport(),
            lasting=1200,
            clock=time.monotonic,
            wall=lambda: time.time() + 2 * SETTLES,  # as if the user were older than the test
        )

        async def is_right(password: str) -> bool:
            return await logins.user_of(ann, password.encode(), Login("pop3", Peer("192.168.1.5"))) is not None

        def change(*command: str, text: str = "") -> None:
            subprocess.run(command, input=text, text=True, check=True)

        self.assertTrue(await is_right("old"))
        self.assertTrue(await is_right("old"))
        self.assertEqual(len(checked), 1)
        change("chpasswd", text=f"{ann}:new")
        self.assertEqual((await is_right("old"), await is_right("new")), (False, True))
        for lock, unlock in (
            (("usermod", "-L", ann), ("usermod", "-U", ann)),
            (("chage", "-E", "2001-01-01", ann), ("chage", "-E", "-1", ann)),
            (("chage", "-d", "0", ann), ("chage", "-d", "2020-01-01", ann)),
        ):
            change(*lock)
            self.assertFalse(await is_right("new"), lock)
            change(*unlock)
            self.assertTrue(await is_right("new"), unlock)
            before = len(checked)
            self.assertTrue(await is_right("new"))
            self.assertEqual(len(checked), before)
