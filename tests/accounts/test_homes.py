"""Real homes of real users, read by a real helper that is root: what counts as a .forward, and what a slow home holds up."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from lanmail.accounts.guard import Answer, GuardTrouble
from lanmail.accounts.helper import LONGEST_FORWARD, NO, TROUBLE, YES, Names, parts, read_forward
from lanmail.accounts.homes import forward_files
from lanmail.accounts.pam import SystemGuards
from lanmail.delivery.forward import ForwardsOfUsers
from lanmail.interfaces import ForwardFile, User
from lanmail.network import Peer
from tests.accounts.fakes import RememberingReport, pam_service, system_user, uid_of


def open_folder(test: SynchronousTestCase) -> Path:
    """A folder that every user can pass through, which a checkout below /root, where trial's folders are, is not."""
    folder = Path(tempfile.mkdtemp(prefix="lanmail-homes-"))
    test.addCleanup(shutil.rmtree, folder)
    folder.chmod(0o755)
    return folder


# Takes a lease on a file, and gives it up so many seconds after somebody wanted the file, or when it is told to go.
LEASE = """
import fcntl, os, signal, sys, threading, time
wanted = threading.Event()
signal.signal(signal.SIGIO, lambda *_: wanted.set())
file = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)

def let_go():
    wanted.wait()
    time.sleep(float(sys.argv[2]))
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)

threading.Thread(target=let_go, daemon=True).start()
print("leased", flush=True)
input()
"""


class AnsweringGuard:
    """A Guard with one answer."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[tuple[bytes, ...]] = []

    def ask(self, kind: bytes, *fields: bytes, name: str = "", host: str = "") -> Deferred[Answer]:
        self.asked.append((kind, *fields))
        answer: Deferred[Answer] = Deferred()
        answer.callback(self.answer)
        return answer


class AnswerTests(SynchronousTestCase):
    ann = User("ann", 1000, 100, "/home/ann")

    def read(self, answer: Answer) -> Deferred[ForwardFile | None]:
        self.guard = AnsweringGuard(answer)
        return Deferred.fromCoroutine(forward_files(self.guard)(self.ann, (".forward+x", ".forward")))  # type: ignore[arg-type]

    def test_a_yes_is_a_file_and_a_no_none_or_one_that_does_not_count(self) -> None:
        for answer, expected in (
            (Answer(True, [b".forward", b"bob"]), ForwardFile(".forward", b"bob")),
            (Answer(False, []), None),
            (Answer(False, [b".forward", b"is a fifo"]), ForwardFile(".forward", refused="is a fifo")),
        ):
            self.assertEqual(self.successResultOf(self.read(answer)), expected)
        self.assertEqual(self.guard.asked, [(b"F", b"ann", b"1000", b".forward+x", b".forward")])

    def test_noise_is_neither(self) -> None:
        for noise in (Answer(True, []), Answer(True, [b"x"]), Answer(False, [b"x"]), Answer(False, [b"x"] * 3)):
            self.failureResultOf(self.read(noise), GuardTrouble)


class HelperTests(SynchronousTestCase):
    """What the helper answers, asked in this process; with another user's rights only where we are root."""

    def setUp(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can read as another user")
        self.home = open_folder(self) / "home"
        self.home.mkdir()
        self.uid, self.gid = 64001, 64002
        os.chown(self.home, self.uid, self.gid)

    def ask(self, *files: bytes, home: bytes | None = None, uid: int | None = None) -> tuple[bytes, list[bytes]]:
        names = Names()
        entry = (b"ann", self.uid, self.gid, os.fsencode(self.home) if home is None else home)
        names.entry = lambda name: entry if name == b"ann" else None  # type: ignore[method-assign]
        wanted = b"%d" % (self.uid if uid is None else uid)
        return parts(read_forward(names, [b"ann", wanted, *(files or (b".forward",))])[4:])

    def write(
        self, text: bytes = b"bob\n", name: str = ".forward", mode: int = 0o600, owner: int | None = None
    ) -> Path:
        path = self.home / name
        path.write_bytes(text)
        os.chown(path, self.uid if owner is None else owner, self.gid)
        path.chmod(mode)
        return path

    def refused(self) -> str:
        kind, fields = self.ask()
        self.assertEqual((kind, fields[0]), (NO, b".forward"))
        return fields[1].decode()

    def test_the_user_s_own_file_and_root_s_count_and_the_group_may_write(self) -> None:
        for mode, owner in ((0o600, self.uid), (0o400, self.uid), (0o664, self.uid), (0o644, 0)):
            self.write(mode=mode, owner=owner)
            self.assertEqual(self.ask(), (YES, [b".forward", b"bob\n"]), (oct(mode), owner))

    def test_in_a_home_that_is_nobody_else_s_to_read(self) -> None:
        self.write()
        self.home.chmod(0o700)
        self.assertEqual(self.ask()[0], YES)

    def test_one_that_others_may_write_or_that_is_somebody_s_does_not_count(self) -> None:
        self.write(mode=0o646)
        self.assertEqual(self.refused(), "can be written by everybody")
        self.write(mode=0o644, owner=self.uid + 1)
        self.assertEqual(self.refused(), f"belongs to uid {self.uid + 1}")

    def test_what_its_user_cannot_read_is_not_read_for_them(self) -> None:
        self.write(b"secret", mode=0o600, owner=0)
        self.assertEqual(self.refused(), "cannot be opened by its user: Permission denied")
        self.write()
        os.chown(self.home, 0, 0)
        self.home.chmod(0o700)
        self.assertEqual(self.refused(), "cannot be opened by its user: Permission denied")

    def test_no_link_is_followed_to_anything(self) -> None:
        (self.home / "there").write_bytes(b"bob")
        for target in (self.home / "there", Path("/etc/shadow"), Path("/nowhere")):
            link = self.home / ".forward"
            link.symlink_to(target)
            self.assertEqual(self.refused(), "is a symbolic link")
            link.unlink()

    def test_neither_fifo_nor_folder_nor_socket_nor_device_holds_anything_up(self) -> None:
        path = self.home / ".forward"

        def listen() -> None:
            self.addCleanup(sock.close)
            here = os.getcwd()
            os.chdir(self.home)  # a socket's path is short
            sock.bind(".forward")
            os.chdir(here)
            os.chmod(path, 0o777)

        sock = socket.socket(socket.AF_UNIX)
        makers: list[Callable[[], object]] = [lambda: os.mkfifo(path), path.mkdir, listen]
        for make in makers:
            make()
            os.chown(path, self.uid, self.gid)
            self.assertIn(
                self.refused(), ("is not a regular file", "cannot be opened by its user: No such device or address")
            )
            path.rmdir() if path.is_dir() else path.unlink()

    def test_a_large_one_is_not_read(self) -> None:
        self.write(b"x" * LONGEST_FORWARD)
        self.assertEqual(len(self.ask()[1][1]), LONGEST_FORWARD)
        self.write(b"x" * (LONGEST_FORWARD + 1))
        self.assertEqual(self.refused(), f"has more than {LONGEST_FORWARD} octets")

    def test_the_first_that_is_there_counts_even_when_it_is_bad(self) -> None:
        self.write(b"bob")
        self.assertEqual(self.ask(b".forward+x", b".forward"), (YES, [b".forward", b"bob"]))
        self.write(b"eve", name=".forward+x")
        self.assertEqual(self.ask(b".forward+x", b".forward"), (YES, [b".forward+x", b"eve"]))
        self.write(b"eve", name=".forward+x", mode=0o602)
        self.assertEqual(self.ask(b".forward+x", b".forward")[0], NO)

    def test_without_a_home_or_a_file_there_is_none(self) -> None:
        for home in (None, b"", b"home", b"/nonexistent", b"/etc/passwd"):
            self.assertEqual(self.ask(home=home), (NO, []), home)

    def test_a_name_that_is_another_s_by_now_and_root_are_trouble_and_nobody_has_no_file(self) -> None:
        self.write()
        names = Names()
        self.assertEqual(parts(read_forward(names, [b"nobody-of-that-name", b"1", b".forward"])[4:]), (NO, []))
        self.assertEqual(self.ask(uid=self.uid + 1)[0], TROUBLE)
        self.uid = 0
        self.assertEqual(self.ask()[0], TROUBLE)

    def test_no_other_file_can_be_asked_for(self) -> None:
        for files in ((b"mbox",), (b".forward/../mbox",), (b".forward\0x",), (b".forward",) * 3):
            self.assertRaises(ValueError, self.ask, *files)

    def test_trouble_with_the_disk_is_not_a_no_and_we_are_ourselves_again(self) -> None:
        rights = os.getresuid(), os.getresgid(), os.getgroups()

        def broken(*_: object, **__: object) -> int:
            self.assertEqual((os.geteuid(), os.getegid(), os.getgroups()), (self.uid, self.gid, [self.gid]))
            raise OSError(5, "Input/output error")

        for code in (5, 116, 11):  # EIO, ESTALE, EAGAIN (somebody's lease)
            with self.subTest(code):
                self.patch(os, "open", broken)
                self.assertEqual(self.ask(), (TROUBLE, [b"cannot read it: Input/output error"]))
                self.assertEqual((os.getresuid(), os.getresgid(), os.getgroups()), rights)

    def test_a_helper_that_cannot_be_itself_again_ends(self) -> None:
        self.write()
        become = os.seteuid

        def only_away(uid: int) -> None:
            if uid == 0:
                raise PermissionError(1, "Operation not permitted")

        self.patch(os, "seteuid", only_away)
        self.assertRaises(RuntimeError, self.ask)
        become(0)
        os.setegid(0)


class HomesTests(TestCase):
    """The whole way, from a user's name to the text of their file, through processes."""

    timeout = 60

    def setUp(self) -> None:
        self.report = RememberingReport()
        self.folder = open_folder(self)

    def user(self, role: str, password: str = "secret") -> User:
        home = self.folder / role
        name = system_user(self, role, password, "-d", str(home))
        home.mkdir(mode=0o700)
        uid = uid_of(name)
        os.chown(home, uid, uid)
        return User(name, uid, uid, str(home))

    def write(self, user: User, text: str) -> Path:
        path = Path(user.home, ".forward")
        path.write_text(text)
        path.chmod(0o600)
        os.chown(path, user.uid, user.gid)
        return path

    def guards(self, service: str = "lanmail") -> SystemGuards:
        guards = SystemGuards(reactor, service, self.report)
        self.addCleanup(guards.stop)
        return guards

    async def test_a_private_file_in_a_private_home_is_read_as_its_owner(self) -> None:
        ann, bob = self.user("ann"), self.user("bob")
        self.write(ann, f"{bob.name}\n")
        read = forward_files(self.guards().homes)
        self.assertEqual(await read(ann, (".forward",)), ForwardFile(".forward", f"{bob.name}\n".encode()))
        self.assertIsNone(await read(bob, (".forward",)))
        Path(bob.home, ".forward").symlink_to(Path(ann.home, ".forward"))
        self.assertEqual(await read(bob, (".forward",)), ForwardFile(".forward", refused="is a symbolic link"))
        self.assertEqual(self.report.lines, [])

    async def leased(self, ann: User, *, for_seconds: float) -> ForwardFile | None:
        """What is read of a file on which somebody has a lease, and gives it up so many seconds after being asked to."""
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", LEASE, self.write(ann, "bob\n"), str(for_seconds)]
        holder = subprocess.Popen(command, stdin=pipe, stdout=pipe)
        self.addCleanup(holder.communicate, b"\n")
        assert holder.stdout is not None
        if holder.stdout.readline() != b"leased\n":
            raise SkipTest("leases are not to be had on this file system")
        return await forward_files(self.guards().homes)(ann, (".forward",))

    async def test_a_lease_that_its_holder_gives_up_is_no_trouble(self) -> None:
        """fcntl(2): a file server does so when it hears that somebody wants the file."""
        self.assertEqual(await self.leased(self.user("ann"), for_seconds=0.05), ForwardFile(".forward", b"bob\n"))

    async def test_a_lease_that_is_kept_neither_delays_mail_nor_keeps_it_from_a_list(self) -> None:
        """Who opens a leased file waits 45 s for its holder, who may be the user, and may take it again."""
        ann = self.user("ann")
        began = time.monotonic()
        file = await self.leased(ann, for_seconds=60)
        assert file is not None
        self.assertIn("cannot be opened", file.refused)
        self.assertLess(time.monotonic() - began, 4)

    async def test_a_home_that_hangs_delays_neither_logins_nor_other_homes(self) -> None:
        ann, bob = self.user("ann"), self.user("bob")
        self.write(bob, "ann\n")
        guards = self.guards(pam_service(self, "auth required pam_unix.so\naccount required pam_unix.so\n"))
        accounts = guards.accounts(reactor, range(1000, 65534), self.report)
        forwards = ForwardsOfUsers(self._stopped_at(guards, ann), reactor, self.report)
        hanging = Deferred.fromCoroutine(forwards(ann, ""))
        began = time.monotonic()
        self.assertTrue(await accounts.verify(ann, b"secret", Peer("192.168.1.5")))
        found = await forwards(bob, "")
        assert found is not None
        self.assertLess(time.monotonic() - began, 3)
        self.assertFalse(hanging.called)
        with self.assertRaises(Exception) as caught:
            await hanging
        self.assertIn("451 4.3.0", str(caught.exception))
        self.assertIn("warning: a helper that reads .forward files was lost: no answer within 5 s", str(self.report))
        # The helper that took its place answers, once the trouble is forgotten.
        self.assertIsNone(await forward_files(guards.homes)(ann, (".forward",)))

    def _stopped_at(self, guards: SystemGuards, user: User):  # type: ignore[no-untyped-def]
        """Homes in which the look-up for one user is never answered, the first time: the helper is stopped in its tracks."""
        read = forward_files(guards.homes)
        done: list[User] = []

        async def slow(asked: User, names: tuple[str, ...], /) -> ForwardFile | None:
            if asked == user and not done:
                done.append(asked)
                guards.homes.start()
                (first,) = guards.homes._alive
                assert first.transport is not None
                os.kill(first.transport.pid, 19)  # SIGSTOP
            return await read(asked, names)

        return slow
