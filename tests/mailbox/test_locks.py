"""The two locks: whom they keep out, when a dotlock counts for nothing, and that breaking one never breaks two."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from lanmail.interfaces import User
from lanmail.mailbox.dotlock import Dotlock
from lanmail.mailbox.locks import lock_kernel, unlock_kernel
from lanmail.mailbox.store import Locking, MailboxBusy, MailboxFailure, MailboxFile
from tests.mailbox.spool import Spool

# Another program: it locks the file with the classic fcntl lock, says so, and waits until its input ends.
CLASSIC = "import fcntl, sys; f = open(sys.argv[1], 'r+b'); fcntl.lockf(f, fcntl.LOCK_EX); print('locked', flush=True); sys.stdin.read()"
FLOCK = CLASSIC.replace("lockf", "flock")


def nobody_left() -> int:
    """The pid of a process that ran."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


class LockCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.spool = Spool(self.mktemp())
        self.dotlock = self.spool.path("ann.lock")

    def other_program(self, source: str) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            [sys.executable, "-c", source, self.spool.path("ann")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert child.stdin is not None and child.stdout is not None
        self.addCleanup(child.wait)
        self.addCleanup(child.stdin.close)
        self.addCleanup(child.stdout.close)
        self.assertEqual(child.stdout.readline(), b"locked\n")
        return child

    def left_by(self, text: bytes, age: float = 0.0, mode: int = 0o644) -> None:
        with open(self.dotlock, "wb") as file:
            file.write(text)
            made = os.fstat(file.fileno()).st_mtime
        os.chmod(self.dotlock, mode)
        os.utime(self.dotlock, (made - age, made - age))


class KernelLock(LockCase):
    def test_a_classic_fcntl_lock_of_another_program_keeps_us_out_and_is_named(self) -> None:
        self.spool.put("ann", b"")
        child = self.other_program(CLASSIC)
        busy = self.assertRaises(MailboxBusy, self.spool.mailbox().lock, create=False)
        self.assertTrue(busy.holder.startswith(f"pid {child.pid} (python"), busy.holder)
        self.assertEqual(str(busy.status), "451 4.2.0 Mailbox is in use; try again later")
        # The first lock was let go when the second could not be had.
        self.assertEqual(self.spool.names(), ["ann"])

    def test_our_lock_keeps_the_classic_one_out(self) -> None:
        source = "import fcntl, sys; f = open(sys.argv[1], 'r+b'); fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)"
        command = [sys.executable, "-c", source, self.spool.path("ann")]
        with self.spool.mailbox().lock(create=True):
            self.assertNotEqual(subprocess.run(command, stderr=subprocess.DEVNULL).returncode, 0)
        self.assertEqual(subprocess.run(command).returncode, 0)

    def test_another_thread_is_kept_out_although_it_is_the_same_process(self) -> None:
        outcome: list[str] = []
        mailbox = self.spool.mailbox(locking=Locking(dotlock=False))

        def other() -> None:
            try:
                mailbox.lock(create=False).release()
            except MailboxBusy as busy:
                outcome.append(busy.holder)

        with mailbox.lock(create=True):
            # A classic lock of this process would be lost with any descriptor of the file that is closed.
            open(self.spool.path("ann"), "rb").close()
            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
        self.assertEqual(outcome, ["a kernel lock of an unnamed process, perhaps our own"])

    def test_a_child_forked_meanwhile_does_not_keep_the_lock(self) -> None:
        held = self.spool.mailbox().lock(create=True)
        ready, wait = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            os.write(ready[1], b"!")
            os.close(wait[1])
            os.read(wait[0], 1)
            os._exit(0)
        try:
            os.read(ready[0], 1)
            held.release()
            self.spool.mailbox().lock(create=False).release()
        finally:
            for fd in (*ready, *wait):
                os.close(fd)
            os.waitpid(child, 0)

    def test_flock_is_ours_to_heed_only_where_it_is_configured(self) -> None:
        self.spool.put("ann", b"")
        self.other_program(FLOCK)
        self.spool.mailbox().lock(create=False).release()
        busy = self.assertRaises(MailboxBusy, self.spool.mailbox(locking=Locking(flock=True)).lock, create=False)
        self.assertEqual(busy.holder, "a program that uses flock")

    def test_a_lock_let_go_is_free(self) -> None:
        self.spool.put("ann", b"")
        with open(self.spool.path("ann"), "r+b") as first, open(self.spool.path("ann"), "r+b") as second:
            lock_kernel(first.fileno(), "ann", flock=True)
            self.assertRaises(MailboxBusy, lock_kernel, second.fileno(), "ann")
            unlock_kernel(first.fileno())
            lock_kernel(second.fileno(), "ann", flock=True)


class DotlockOfOurs(LockCase):
    def test_it_says_who_we_are_to_everybody_and_is_gone_afterwards(self) -> None:
        old = os.umask(0o077)
        self.addCleanup(os.umask, old)
        with self.spool.mailbox().lock(create=True):
            with open(self.dotlock, "rb") as file:
                self.assertEqual(file.read(), b"%d\n" % os.getpid())
            self.assertEqual(os.stat(self.dotlock).st_mode & 0o777, 0o644)
        self.assertEqual(self.spool.names(), ["ann"])

    def test_touching_makes_it_new(self) -> None:
        with self.spool.mailbox().lock(create=True) as held:
            os.utime(self.dotlock, (1, 1))
            held.touch()
            self.assertGreater(os.stat(self.dotlock).st_mtime, 1e9)

    def test_once_broken_by_another_program_it_is_theirs_and_not_removed(self) -> None:
        held = self.spool.mailbox().lock(create=True)
        os.unlink(self.dotlock)
        self.left_by(b"1\n")
        self.assertFalse(held.intact())
        self.assertRaises(MailboxBusy, held.append, [b"x"])
        self.assertRaises(MailboxBusy, held.take_out, [])
        held.touch()
        held.release()
        self.assertEqual(self.spool.names(), ["ann", "ann.lock"])

    def test_one_that_cannot_even_be_looked_at_is_let_go_and_broken_at_the_next_use(self) -> None:
        mailbox = self.spool.mailbox()
        held = mailbox.lock(create=True)
        before = len(os.listdir("/proc/self/fd"))
        lstat = os.lstat

        def failing(*_: object, **__: object) -> os.stat_result:
            raise OSError(errno.EIO, "it fails")

        self.patch(os, "lstat", failing)
        held.release()
        self.patch(os, "lstat", lstat)
        self.assertEqual(len(os.listdir("/proc/self/fd")), before - 3)
        self.assertTrue(os.path.lexists(self.dotlock))
        mailbox.lock(create=True).release()
        self.assertFalse(os.path.lexists(self.dotlock))

    def test_none_is_made_where_it_is_not_configured(self) -> None:
        self.left_by(b"1\n")
        with self.spool.mailbox(locking=Locking(dotlock=False)).lock(create=True):
            self.assertEqual(self.spool.names(), ["ann", "ann.lock"])

    def test_where_the_file_system_has_no_unnamed_files_it_is_made_under_another_name_first(self) -> None:
        unnamed, self.refusals = os.O_TMPFILE, 0
        real = os.open

        def refuse(path: str, flags: int, *rest: object, **named: object) -> int:
            if flags & unnamed == unnamed:
                self.refusals += 1
                raise OSError(95, "not supported")
            return real(path, flags, *rest, **named)  # type: ignore[arg-type]

        self.patch(os, "open", refuse)
        with self.spool.mailbox().lock(create=True) as held:
            self.assertEqual(self.spool.names(), ["ann", "ann.lock"])
            self.assertEqual(os.fstat(held.fd).st_nlink, 1)
            self.assertRaises(MailboxBusy, self.spool.mailbox().lock, create=True)
        self.assertEqual(self.spool.names(), ["ann"])
        self.assertEqual(self.refusals, 3)

    def test_a_folder_that_we_may_not_write_to_is_named(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("needs root, to become somebody else")
        os.chmod(self.spool.folder, 0o755)
        self.spool.put("ann", b"")
        os.chmod(self.spool.path("ann"), 0o666)
        said = as_nobody(self.spool, lambda mailbox: mailbox.lock(create=False))
        self.assertEqual(
            said,
            "MailboxFailure cannot make the dotlock ./ann.lock; the folder must let this program write, "
            "as root:mail 2775 does: Permission denied",
        )

    def test_a_program_that_began_as_root_and_is_so_no_longer_can_make_both_lock_and_mailbox(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("needs root, to become somebody else")
        os.chmod(self.spool.folder, 0o1777)
        self.assertEqual(as_nobody(self.spool, lambda mailbox: mailbox.lock(create=True).release()), "nothing")
        found = os.stat(self.spool.path("ann"))
        self.assertEqual((found.st_uid, found.st_mode & 0o777), (65534, 0o600))
        self.assertEqual(self.spool.names(), ["ann"])


def as_nobody(spool: Spool, work: Callable[[MailboxFile], object]) -> str:
    """What comes of it when a process without rights does it with the mailbox ./ann in the spool folder."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.chdir(spool.folder)  # the folders above may be root's alone
            os.setuid(65534)
            user = User("ann", 1001, 1001)
            work(
                MailboxFile("./ann", user, group=None, locking=Locking(), state_folder="/nowhere", report=spool.report)
            )
            os.write(write, b"nothing")
        except MailboxFailure as failure:
            os.write(write, f"{type(failure).__name__} {failure.detail}".encode())
        except BaseException as error:
            os.write(write, repr(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as file:
        said = file.read().decode()
    os.waitpid(child, 0)
    return said


class DotlockOfOthers(LockCase):
    def locks(self, locking: Locking = Locking()) -> bool:
        """Whether the mailbox can be had."""
        try:
            self.spool.mailbox(locking=locking).lock(create=True).release()
        except MailboxBusy as busy:
            self.holder = busy.holder
            return False
        return True

    def test_it_counts_while_its_process_runs(self) -> None:
        self.left_by(b"%d\n" % os.getppid())
        self.assertFalse(self.locks())
        self.assertTrue(self.holder.startswith(f"pid {os.getppid()} ("), self.holder)

    def test_it_is_broken_at_once_when_its_process_does_not_run(self) -> None:
        for text in (b"%d\n", b"  %d", b"%%d:%s" % os.fsencode(socket.gethostname())):
            self.left_by(text % nobody_left())
            self.assertTrue(self.locks(), text)

    def test_a_pid_of_another_host_says_nothing_here(self) -> None:
        self.left_by(b"%d:elsewhere" % nobody_left())
        self.assertFalse(self.locks())

    def test_without_a_pid_its_age_decides(self) -> None:
        for text in (b"", b"0", b"hello\n", b"9" * 40, b"\xff" * 400):
            self.left_by(text)
            self.assertFalse(self.locks(), text)
            self.left_by(text, age=490)
            self.assertFalse(self.locks(), text)
            self.left_by(text, age=510)
            self.assertTrue(self.locks(), text)

    def test_an_old_one_counts_for_nothing_even_if_its_process_runs(self) -> None:
        self.left_by(b"%d\n" % os.getppid(), age=20)
        self.assertTrue(self.locks(Locking(stale_lock_time=10)))

    def test_one_with_our_pid_is_from_an_earlier_life_unless_we_hold_it(self) -> None:
        # In a container the program has the same pid each time.
        self.left_by(b"%d\n" % os.getpid())
        self.assertTrue(self.locks())
        with self.spool.mailbox().lock(create=True):
            self.assertFalse(self.locks())

    def test_it_is_not_broken_while_the_kernel_lock_is_held(self) -> None:
        self.spool.put("ann", b"")
        child = self.other_program(CLASSIC)
        for text, age in ((b"%d\n" % nobody_left(), 0.0), (b"", 1000.0)):
            self.left_by(text, age)
            for locking in (Locking(), Locking(fcntl=False)):
                self.assertFalse(self.locks(locking))
                self.assertIn(str(child.pid), self.holder)
            self.assertEqual(self.spool.names(), ["ann", "ann.lock"])

    def test_a_link_or_a_folder_as_a_lock_leads_nowhere(self) -> None:
        os.symlink("/etc/passwd", self.dotlock)
        self.assertFalse(self.locks())
        self.assertTrue(os.path.islink(self.dotlock))
        os.unlink(self.dotlock)
        os.mkdir(self.dotlock)
        self.assertFalse(self.locks())

    def test_one_that_we_may_not_remove_is_said_to_be_so(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("needs root, to become somebody else")
        os.chmod(self.spool.folder, 0o1777)
        self.left_by(b"", age=1000)
        said = as_nobody(self.spool, lambda mailbox: mailbox.lock(create=True))
        self.assertIn("and stale, but not ours to remove", said)

    def test_of_many_that_break_a_stale_one_only_one_gets_the_mailbox(self) -> None:
        # With dotlocks alone, so that no kernel lock hides a mistake here. Each finds a stale lock, all at once.
        inside, worst, had = [0], [0], [0]
        guard = threading.Lock()
        dead = nobody_left()
        start = threading.Barrier(4, timeout=20)
        end = threading.Barrier(4, timeout=20)

        def worker(number: int) -> None:
            try:
                work(number)
            except BaseException:
                start.abort()
                end.abort()
                raise

        def work(number: int) -> None:
            own_folder = os.open(self.spool.folder, os.O_RDONLY)
            for _ in range(150):
                if number == 0:
                    self.left_by(b"%d\n" % dead)
                start.wait()
                for _ in range(3):
                    dotlock = Dotlock(own_folder, self.spool.path("ann"), 500)
                    try:
                        dotlock.take(nullcontext)
                    except MailboxBusy:
                        continue
                    with guard:
                        inside[0] += 1
                        had[0] += 1
                        worst[0] = max(worst[0], inside[0])
                    os.sched_yield()
                    with guard:
                        inside[0] -= 1
                    dotlock.release()
                end.wait()
                if number == 0 and os.path.exists(self.dotlock):
                    os.unlink(self.dotlock)
                start.wait()
            os.close(own_folder)

        threads = [threading.Thread(target=worker, args=(number,)) for number in range(4)]
        old = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            sys.setswitchinterval(old)
        self.assertFalse(start.broken or end.broken)  # no thread ended early
        self.assertEqual(worst[0], 1)
        self.assertGreater(had[0], 150)
