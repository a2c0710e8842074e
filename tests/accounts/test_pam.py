"""Real helpers, real PAM, real users: what hangs, what crashes, what is right and what is not. As root, on loopback's own machine."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.interfaces import IProcessProtocol, IProcessTransport
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from lanmail.accounts import helper
from lanmail.accounts.guard import Guard, GuardTrouble, helper_launcher
from lanmail.accounts.pam import SystemAccounts, SystemGuards, service_problem
from lanmail.accounts.users import SystemUsers, through_guard
from lanmail.interfaces import User
from lanmail.network import Peer
from lanmail.status import TemporaryFailure
from tests.accounts.fakes import RememberingReport, begin, pam_service, system_user, uid_of

ROOT = Path(__file__).resolve().parent.parent.parent
PEER = Peer("192.168.1.5")
PEOPLE = range(1000, 65534)

UNIX = "auth required pam_unix.so\naccount required pam_unix.so\n"


class _Real(TestCase):
    """Guards with real helpers, ended with the test."""

    timeout = 60

    def setUp(self) -> None:
        self.report = RememberingReport()

    def accounts(self, service: str, time_limit: float = 15.0, helpers: int = 4) -> SystemAccounts:
        guards = SystemGuards(reactor, service, self.report, helpers=helpers, time_limit=time_limit)
        self.guards = guards
        self.addCleanup(guards.stop)
        return guards.accounts(reactor, PEOPLE, self.report)

    def user(self, role: str, password: str | None, *arguments: str) -> User:
        name = system_user(self, role, password, *arguments)
        return User(name, uid_of(name), uid_of(name))


class PasswordTests(_Real):
    async def test_the_right_password_is_right_and_others_are_wrong_at_once(self) -> None:
        """Not two seconds later, as PAM would have it: it is the throttle that makes refusals late."""
        ann = self.user("ann", "dianaël")
        accounts = self.accounts(pam_service(self, UNIX))
        self.assertTrue(await accounts.verify(ann, "dianaël".encode(), PEER))
        began = time.monotonic()
        for wrong in (b"dianael", "dianaël".encode("latin-1"), b"\xff\xfe", b"x" * 512, b" "):
            self.assertFalse(await accounts.verify(ann, wrong, PEER))
        self.assertFalse(await accounts.verify(None, b"x", PEER))
        self.assertLess(time.monotonic() - began, 2.0)
        self.assertEqual(self.report.lines, [])

    async def test_debians_own_common_auth_does_the_same(self) -> None:
        if not os.path.exists("/etc/pam.d/common-auth"):
            raise SkipTest("/etc/pam.d/common-auth")
        ann = self.user("ann", "dianaël")
        accounts = self.accounts(pam_service(self, (ROOT / "etc/pam.d/lanmail").read_text()))
        self.assertTrue(await accounts.verify(ann, "dianaël".encode(), PEER))
        began = time.monotonic()
        self.assertFalse(await accounts.verify(ann, b"wrong", PEER))
        self.assertLess(time.monotonic() - began, 1.5)

    async def test_an_expired_account_is_refused_though_the_password_is_right(self) -> None:
        old = self.user("old", "secret", "-e", "2001-01-01")
        accounts = self.accounts(pam_service(self, UNIX))
        self.assertFalse(await accounts.verify(old, b"secret", PEER))

    async def test_an_account_without_a_password_opens_to_no_password(self) -> None:
        """``nullok``, which Debian's common-auth says, would let anybody in."""
        blank = self.user("blank", None)
        accounts = self.accounts(pam_service(self, UNIX.replace("pam_unix.so", "pam_unix.so nullok")))
        for password in (b"x", b""):
            self.assertFalse(await accounts.verify(blank, password, PEER))

    async def test_the_clients_address_reaches_pam(self) -> None:
        """What pam_access and pam_faillock, and the system's own log, say of a login."""
        seen = Path(self.mktemp()).resolve()
        script = _script(self, f'echo "$PAM_USER $PAM_RHOST" > {seen}; exit 0')
        ann = self.user("ann", "secret")
        accounts = self.accounts(pam_service(self, f"auth required pam_exec.so quiet {script}\n{UNIX}"))
        self.assertTrue(await accounts.verify(ann, b"secret", Peer("fd00::5")))
        self.assertEqual(seen.read_text(), f"{ann.name} fd00::5\n")

    async def test_a_module_that_is_missing_is_trouble_and_not_a_wrong_password(self) -> None:
        ann = self.user("ann", "secret")
        accounts = self.accounts(pam_service(self, "auth required pam_of_nobody.so\naccount required pam_unix.so\n"))
        with self.assertRaises(TemporaryFailure) as caught:
            await accounts.verify(ann, b"secret", PEER)
        self.assertEqual(caught.exception.status.code, 454)
        self.assertIn(f"cannot check the password of {ann.name}: PAM cannot say", str(self.report))
        self.assertNotIn("secret", str(self.report))

    async def test_a_helper_keeps_neither_the_environment_nor_a_password_in_sight(self) -> None:
        seen = Path(self.mktemp()).resolve()
        script = _script(
            self, f"(env; ls -l /proc/$PPID/fd; tr '\\0' ' ' < /proc/$PPID/cmdline; cat /proc/$PPID/limits) > {seen}"
        )
        ann = self.user("ann", "a-very-secret-word")
        self.patch(os, "environ", {**os.environ, "LANMAIL_TEST_SECRET": "1"})
        accounts = self.accounts(pam_service(self, f"auth required pam_exec.so quiet {script}\n{UNIX}"))
        self.assertTrue(await accounts.verify(ann, b"a-very-secret-word", PEER))
        text = seen.read_text()
        self.assertNotIn("a-very-secret-word", text)
        self.assertNotIn("LANMAIL_TEST_SECRET", text)
        self.assertRegex(text, r"Max core file size +0 +0")
        descriptors = {line.split()[8]: line.split(" -> ")[1] for line in text.splitlines() if " -> " in line}
        self.assertEqual({descriptors[each] for each in "012"}, {"/dev/null"})
        others = [target for target in descriptors.values() if target.startswith(("socket:", "anon_inode:"))]
        self.assertEqual(others, [])


class HangingTests(_Real):
    def setUp(self) -> None:
        super().setUp()
        self.pids = Path(self.mktemp()).resolve()
        # Hangs for one user and kills its process for another; everybody else goes on to pam_unix.
        self.script = _script(
            self,
            f"case $PAM_USER in *-hang) echo $$ $PPID >> {self.pids}; exec sleep 3600;; *-crash) kill -KILL $PPID;; esac; exit 0",
        )
        self.service = pam_service(self, f"auth required pam_exec.so quiet {self.script}\n{UNIX}")

    async def test_a_login_that_hangs_does_not_delay_another(self) -> None:
        hang, ann = self.user("hang", "secret"), self.user("ann", "secret")
        accounts = self.accounts(self.service, time_limit=2.0, helpers=2)
        began = time.monotonic()
        hanging = begin(accounts.verify(hang, b"secret", PEER))
        for _ in range(5):
            self.assertTrue(await accounts.verify(ann, b"secret", PEER))
        self.assertFalse(hanging.called)
        self.assertLess(time.monotonic() - began, 2.0)
        failure = await self.assertFailure(hanging, TemporaryFailure)
        self.assertEqual((failure.status.code, failure.status.enhanced), (454, "4.7.0"))
        self.assertIn("no answer within 2 s", str(self.report))
        self.assertTrue(await accounts.verify(ann, b"secret", PEER))

    async def test_what_a_hanging_module_started_is_killed_with_its_helper(self) -> None:
        hang = self.user("hang", "secret")
        accounts = self.accounts(self.service, time_limit=1.0)
        await self.assertFailure(begin(accounts.verify(hang, b"secret", PEER)), TemporaryFailure)
        for pid in map(int, self.pids.read_text().split()):
            _wait_until_gone(pid)

    async def test_a_helper_that_crashes_is_trouble_for_its_own_login_alone(self) -> None:
        crash, ann = self.user("crash", "secret"), self.user("ann", "secret")
        accounts = self.accounts(self.service)
        logins = [
            self.assertFailure(begin(accounts.verify(crash, b"secret", PEER)), TemporaryFailure),
            begin(accounts.verify(ann, b"secret", PEER)),
            begin(accounts.verify(ann, b"secret", Peer("192.168.1.6"))),
        ]
        _, *others = await gatherResults(logins)
        self.assertEqual(others, [True, True])
        self.assertIn("signal 9", str(self.report))

    def test_helpers_end_when_their_server_is_killed_even_in_a_module_that_hangs(self) -> None:
        hang = self.user("hang", "secret")
        program = (
            "import os, sys\n"
            "from twisted.internet import reactor\n"
            "from lanmail.accounts.pam import SystemGuards\n"
            "from lanmail.interfaces import User\n"
            "from lanmail.network import Peer\n"
            "from twisted.internet.defer import Deferred\n"
            "guards = SystemGuards(reactor, sys.argv[1], lambda *_, **__: None, time_limit=600)\n"
            "accounts = guards.accounts(reactor, range(65536), lambda *_, **__: None)\n"
            "def ask():\n"
            "    guards.start()\n"
            "    Deferred.fromCoroutine(accounts.verify(User(sys.argv[2], 1, 1), b'x', Peer('')))\n"
            "    Deferred.fromCoroutine(accounts.find('nobody')).addCallback(said)\n"
            "def said(_):\n"
            "    for guard in (guards.passwords, guards.names):\n"
            "        print(*(each.transport.pid for each in guard._alive), flush=True)\n"
            "reactor.callWhenRunning(ask)\n"
            "reactor.run()\n"
        )
        server = subprocess.Popen(
            [sys.executable, "-c", program, self.service, hang.name], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert server.stdout is not None
        with server, server.stdout:
            helpers = [int(pid) for _ in range(2) for pid in server.stdout.readline().split()]
            self.assertGreaterEqual(len(helpers), 2)
            _wait_for(lambda: self.pids.exists() and self.pids.read_text().endswith("\n"))
            server.send_signal(signal.SIGKILL)
        for pid in {*helpers, *map(int, self.pids.read_text().split())}:
            _wait_until_gone(pid)


class GarbageTests(_Real):
    def test_a_helper_that_is_told_garbage_ends(self) -> None:
        gone = []
        for noise in (
            b"\0\0\0\0",
            b"\xff" * 64,
            b"\0\0\0\x01?",
            b"\0\0\0\x03P\0\x09",
            helper.frame(b"P", b"only one field"),
            b"\0\0\0\x09P",
        ):
            guard = Guard(helper_launcher(reactor), reactor, self.report)
            self.addCleanup(guard.stop)
            guard.start()
            (process,) = guard._alive
            process.transport.writeToChild(helper.REQUESTS, noise)
            process.transport.closeChildFD(helper.REQUESTS)
            gone.append(process.gone)
        return gatherResults(gone)

    async def test_a_helper_of_names_alone_checks_no_password(self) -> None:
        guard = Guard(helper_launcher(reactor), reactor, self.report)
        self.addCleanup(guard.stop)
        await self.assertFailure(guard.ask(helper.CHECK_PASSWORD, b"root", b"x", b""), GuardTrouble)


class NameTests(_Real):
    def users(self, guard: Guard, patience: float = 5.0) -> SystemUsers:
        self.addCleanup(guard.stop)
        return SystemUsers(through_guard(guard), reactor, self.report, uids=PEOPLE, patience=patience)

    async def test_a_user_without_a_shell_has_mail_and_after_userdel_none(self) -> None:
        ann = system_user(self, "ann", "secret")
        users = self.users(Guard(helper_launcher(reactor), reactor, self.report))
        self.assertEqual(await users.find(ann.upper()), User(ann, uid_of(ann), uid_of(ann), f"/home/{ann}"))
        self.assertIsNone(await users.find("root"))
        self.assertIsNone(await users.find("nobody-of-that-name"))
        subprocess.run(["usermod", "-l", f"{ann}-x", ann], check=True)
        users.forget()
        gone = await users.find(ann)
        subprocess.run(["usermod", "-l", ann, f"{ann}-x"], check=True)
        self.assertIsNone(gone)

    async def test_a_name_service_that_never_answers_delays_only_who_asks_it(self) -> None:
        """A real one: a module of the C library's that hangs, in a mount namespace of its own with its own nsswitch.conf."""
        ann = system_user(self, "ann", "secret")
        guard = Guard(_never_answering(self), reactor, self.report, helpers=4, most=4, time_limit=2.0)
        users = self.users(guard, patience=1.5)
        stuck = [self.assertFailure(begin(users.find(f"stuck{n}")), TemporaryFailure) for n in range(3)]
        # Who is in the files, which are asked first, is found meanwhile.
        self.assertEqual((await users.find(ann) or User("", 0, 0)).name, ann)
        self.assertEqual([each.called for each in stuck], [False] * 3)
        for failure in await gatherResults(stuck):
            self.assertEqual((failure.status.code, failure.status.enhanced), (451, "4.3.0"))
        # And a flood of them is told in time, holds no more than four processes, and leaves the guard working.
        began = time.monotonic()
        flood = [self.assertFailure(begin(users.find(f"flood{n}")), TemporaryFailure) for n in range(20)]
        await gatherResults(flood)
        self.assertLess(time.monotonic() - began, 3.0)
        self.assertLessEqual(len(guard._alive), 4)
        self.assertEqual((await users.find(ann) or User("", 0, 0)).name, ann)


class ServiceTests(SynchronousTestCase):
    def test_a_service_that_is_missing_is_named_with_the_command_that_installs_it(self) -> None:
        problem = service_problem("lanmail-nowhere")
        self.assertIn("cp etc/pam.d/lanmail /etc/pam.d/lanmail-nowhere", problem or "")

    def test_a_service_is_a_name_and_not_a_path(self) -> None:
        for service in ("", "../shadow", "a b", "/etc/pam.d/login", "a\n"):
            self.assertIsNotNone(service_problem(service), service)

    def test_one_that_is_there_is_no_problem(self) -> None:
        services = [each for each in ("login", "su", "passwd") if os.path.exists(f"/etc/pam.d/{each}")]
        if not services:
            raise SkipTest("/etc/pam.d")
        self.assertIsNone(service_problem(services[0]))


NEVER = """
#include <nss.h>
#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>
enum nss_status _nss_never_getpwnam_r(const char *n, struct passwd *p, char *b, size_t l, int *e) { for (;;) pause(); }
"""


def _never_answering(test: TestCase):
    """A Launch of helpers whose C library asks, after the files, a name service that never answers."""
    if os.geteuid() != 0:
        raise SkipTest("only root can have a mount namespace")
    for program in ("gcc", "unshare"):
        if shutil.which(program) is None:
            raise SkipTest(program)
    folder = Path(test.mktemp()).resolve()
    folder.mkdir()
    (folder / "never.c").write_text(NEVER)
    built = subprocess.run(
        ["gcc", "-shared", "-fPIC", "-o", folder / "libnss_never.so.2", folder / "never.c"], capture_output=True
    )
    if built.returncode:
        raise SkipTest("gcc without the C library's headers")
    (folder / "nsswitch.conf").write_text("passwd: files never\n")
    mount = f"mount --bind {folder}/nsswitch.conf /etc/nsswitch.conf"
    if subprocess.run(["unshare", "-m", "sh", "-c", mount], capture_output=True).returncode:
        raise SkipTest("a mount namespace")
    run = f'{mount} && exec {sys.executable} -I -S {helper.__file__} "" /'

    def launch(protocol: IProcessProtocol) -> IProcessTransport:
        return reactor.spawnProcess(
            protocol,
            shutil.which("unshare"),
            ["unshare", "-m", "sh", "-c", run],
            {"PATH": os.defpath, "LD_LIBRARY_PATH": str(folder)},
            childFDs={0: 0, 1: 1, 2: 2, helper.REQUESTS: "w", helper.ANSWERS: "r"},
        )

    return launch


def _script(test: TestCase, body: str) -> Path:
    path = Path(test.mktemp()).resolve()
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o700)
    return path


def _wait_until_gone(pid: int) -> None:
    """Until that process has ended. No poll of the clock: the kernel tells."""
    with contextlib.suppress(ProcessLookupError), _pidfd(pid) as fd:
        watch = select.poll()
        watch.register(fd, select.POLLIN)
        if not watch.poll(10_000):
            raise AssertionError(f"process {pid} is still there")


@contextlib.contextmanager
def _pidfd(pid: int) -> Iterator[int]:
    fd = os.pidfd_open(pid)
    try:
        yield fd
    finally:
        os.close(fd)


def _wait_for(happened) -> None:
    """Something that another process does and nobody announces."""
    until = time.monotonic() + 10
    while not happened():
        if time.monotonic() > until:
            raise AssertionError("it did not happen")
        time.sleep(0.01)
