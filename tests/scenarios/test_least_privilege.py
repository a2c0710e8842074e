"""Who the processes of a running service are, as the kernel says it: for each way to start one, with what rights the unit leaves."""

from __future__ import annotations

import contextlib
import ctypes
import grp
import os
import poplib
import pwd
import re
import shlex
import signal
import smtplib
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from lanmail.rights.privileges import Rights
from tests.accounts.fakes import pam_service, system_user
from tests.live import ROOT, Server, mail_owner, need, wait_for

PAM = "auth required pam_unix.so\naccount required pam_unix.so\n"
TWIST = (sys.executable, "-m", "twisted")
TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()")
UNIT = ROOT / "etc" / "lanmail.service"
_PR_SET_CHILD_SUBREAPER = 36


class LeastPrivilegeTests(SynchronousTestCase):
    def setUp(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can give root up")
        self.owner = pwd.getpwnam(mail_owner())
        self.user = system_user(self, "one", "secret-of-one")
        service = pam_service(self, PAM)
        self.server = Server(self.mktemp(), f"pam_service = {service}\n", accounts="system")
        self.addCleanup(self.server.stop)

    # what a service is for

    def assert_serves(self) -> None:
        """Mail for a system user, whose mailbox is made, fetched with their password."""
        with smtplib.SMTP("127.0.0.1", self.server.smtp, timeout=20) as client:
            client.sendmail(
                "nel@iscb-corporation.com", [f"{self.user}@iscb-corporation.com"], "Subject: Essai\r\n\r\nBonjour.\r\n"
            )
        wait_for((self.server.spool / self.user).exists, self.server.describe)
        self.assertEqual((self.server.spool / self.user).owner(), self.user)
        box = poplib.POP3("127.0.0.1", self.server.pop3, timeout=20)
        box.user(self.user)
        box.pass_("secret-of-one")
        self.assertEqual(box.stat()[0], 1)
        box.dele(1)
        box.quit()

    # what the kernel says

    def assert_small(self, service: int, guard: int) -> list[int]:
        """The service is mail_owner and no more, the guard and its helpers root without a port. All of them."""
        rights = Rights.of(service)
        mail = grp.getgrnam("mail").gr_gid
        self.assertEqual((rights.uids, rights.gids), ((self.owner.pw_uid,) * 4, (self.owner.pw_gid,) * 4))
        self.assertEqual(rights.groups, {self.owner.pw_gid, mail})
        self.assertEqual((rights.capabilities, rights.no_new_privileges), ((), True))
        for thread in os.listdir(f"/proc/{service}/task"):
            self.assertEqual(Rights.of(f"{service}/task/{thread}"), Rights.of(service))
        self.assertGreaterEqual(len(sockets(service) & listening()), 2)

        family = [guard, *children(guard)]
        self.assertGreaterEqual(len(family), 4, "helpers for passwords, names and mailboxes")
        for pid in family:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a helper that signs ends when it has
                self.assertEqual(Rights.of(pid).uids, (0,) * 4)
                self.assertEqual(sockets(pid) & all_tcp(), set())
        wait_for(
            lambda: len(sockets(guard)) == 2, self.server.describe
        )  # its channels; and for a moment that of a helper it starts
        return [service, *family]

    def all_gone(self, pids: Sequence[int]) -> None:
        wait_for(lambda: not any(alive(pid) for pid in pids), self.server.describe)

    # the ways to start one

    def test_twist(self) -> None:
        self.server.start()
        self.assert_serves()
        assert self.server.process is not None
        family = self.assert_small(self.server.process.pid, only(children(self.server.process.pid)))
        self.assertEqual(self.server.stop(), -signal.SIGTERM)  # as Twisted ends whom a signal stops
        self.all_gone(family)

    def test_twistd_in_the_background(self) -> None:
        with adopting_orphans():
            before = {*children(os.getpid())}
            pidfile = self.server.folder / "twistd.pid"
            log = self.server.folder / "twistd.log"
            self.server.start(
                (*TWISTD, "--pidfile", str(pidfile), "--logfile", str(log), "-y", str(ROOT / "etc/lanmail.tac")),
                cwd=str(self.server.folder),
            )
            service = int(pidfile.read_text())
            self.addCleanup(lambda: alive(service) and os.kill(service, signal.SIGKILL))
            assert self.server.process is not None
            self.server.process.wait(20)  # it has gone to the background
            self.assert_serves()
            ours = [pid for pid in children(os.getpid()) if pid not in before]
            family = self.assert_small(service, only([pid for pid in ours if b"rights/parent.py" in program(pid)]))
            os.kill(service, signal.SIGTERM)
            self.all_gone(family)

    def test_the_units_command_line_with_the_rights_that_the_unit_leaves(self) -> None:
        need("setpriv")
        text = UNIT.read_text()
        started = re.search(r"^ExecStart=/opt/lanmail/bin/twist (.*)$", text, re.MULTILINE)
        bounded = re.search(r"^CapabilityBoundingSet=(.*)$", text, re.MULTILINE)
        assert started is not None and bounded is not None
        command = [
            str(self.server.main_cf) if word == "/etc/lanmail/main.cf" else word for word in shlex.split(started[1])
        ]
        wanted = [name.removeprefix("CAP_").lower() for name in bounded[1].split()]
        limited = ["setpriv", "--bounding-set", ",".join(["-all", *(f"+{name}" for name in wanted)])]
        with manager() as (address, manager_socket):
            self.server.start((*limited, "env", f"NOTIFY_SOCKET={address}", *TWIST, *command))
            self.assertEqual(manager_socket.recv(1000), b"READY=1")
            self.assert_serves()
            assert self.server.process is not None
            family = self.assert_small(self.server.process.pid, only(children(self.server.process.pid)))
            self.assertEqual(self.server.stop(), -signal.SIGTERM)  # as Twisted ends whom a signal stops
            self.assertEqual(manager_socket.recv(1000), b"STOPPING=1")
            self.all_gone(family)

    # its end

    def test_without_its_guard_the_service_ends_and_says_so(self) -> None:
        self.server.start()
        assert self.server.process is not None
        guard = only(children(self.server.process.pid))
        family = [self.server.process.pid, guard, *children(guard)]
        os.kill(guard, signal.SIGKILL)
        self.assertEqual(self.server.process.wait(20), 1)
        self.assertIn("error: the guard's root parent is lost", self.server.describe())
        self.assertIn("lanmail has stopped", self.server.describe())
        self.assertNotIn("Traceback", self.server.describe())
        self.all_gone(family)

    def test_a_service_that_is_killed_leaves_no_root_behind(self) -> None:
        self.server.start()
        assert self.server.process is not None
        guard = only(children(self.server.process.pid))
        family = [guard, *children(guard)]
        self.server.stop(signal.SIGKILL)
        self.all_gone(family)


def only(pids: Sequence[int]) -> int:
    """The one that there is."""
    (pid,) = pids
    return pid


def children(pid: int) -> list[int]:
    """The processes that a process has started, by whichever of its threads."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += map(int, path.read_text().split())
    return found


def called(pid: int) -> str:
    """By ps; nothing where it has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def program(pid: int) -> bytes:
    """What a process runs; nothing where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def alive(pid: int) -> bool:
    """Whether it runs: it is there, and no zombie that waits for us."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def sockets(pid: int) -> set[str]:
    """The inodes of the sockets that a process holds."""
    found = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
            if target.startswith("socket:["):
                found.add(target[8:-1])
    return found


def all_tcp(state: str = "") -> set[str]:
    """The inodes of TCP sockets; state as the kernel writes it."""
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    return {fields[9] for fields in lines if state in ("", fields[3])}


def listening() -> set[str]:
    return all_tcp("0A")


@contextlib.contextmanager
def adopting_orphans() -> Iterator[None]:
    """What a process of ours leaves behind becomes our child, as it would be init's (prctl(2), PR_SET_CHILD_SUBREAPER)."""
    libc = ctypes.CDLL(None)
    before = {*children(os.getpid())}
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        for pid in {*children(os.getpid())} - before:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


@contextlib.contextmanager
def manager() -> Iterator[tuple[str, socket.socket]]:
    """A service manager's ear: its address, and the socket that hears."""
    address = f"/tmp/lanmail-manager-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(address)
        try:
            os.chmod(address, 0o777)
            sock.settimeout(20)
            yield address, sock
        finally:
            os.unlink(address)
