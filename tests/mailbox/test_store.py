"""Opening a mailbox safely, creating it, and writing at its end: nothing elsewhere, nothing in part."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import resource
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from lanmail.interfaces import User
from lanmail.mailbox import expunge
from lanmail.mailbox.locked import Uncut
from lanmail.mailbox.store import LockedMailbox, Locking, MailboxBusy, MailboxFailure, MailboxUnsafe
from lanmail.status import PermanentFailure, Status, TemporaryFailure
from tests.mailbox.fragile import Crash
from tests.mailbox.spool import Spool

ONE = b"From ann Mon Jan  1 00:00:00 2024\n\none\n\n"
TWO = b"From bob Mon Jan  1 00:00:00 2024\n\ntwo\n\n"


class StoreCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.spool = Spool(self.mktemp())


class Creating(StoreCase):
    def test_a_missing_mailbox_is_missing_and_no_lock_is_left(self) -> None:
        self.assertRaises(FileNotFoundError, self.spool.mailbox().lock, create=False)
        self.assertEqual(self.spool.names(), [])
        self.assertEqual(self.spool.report.lines, [])

    def test_a_missing_folder_is_not_a_missing_mailbox(self) -> None:
        os.rmdir(self.spool.folder)
        failure = self.assertRaises(MailboxFailure, self.spool.mailbox().lock, create=False)
        self.assertIn("No such file", failure.detail)
        self.assertEqual(len(self.spool.report.lines), 1)

    def test_it_gets_its_owner_its_group_and_its_mode_whatever_the_umask(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("needs root, to give a file away")
        os.chmod(self.spool.folder, 0o2775)
        for umask in (0, 0o777):
            old = os.umask(umask)
            try:
                with self.spool.mailbox(user=User("ann", 4711, 4712), group=8).lock(create=True) as held:
                    self.assertTrue(held.created)
            finally:
                os.umask(old)
            found = os.stat(self.spool.path("ann"))
            self.assertEqual((found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)), (4711, 8, 0o660))
            os.unlink(self.spool.path("ann"))

    def test_without_a_group_it_is_its_owners_alone(self) -> None:
        self.spool.mailbox().lock(create=True).release()
        self.assertEqual(stat.S_IMODE(os.stat(self.spool.path("ann")).st_mode), 0o600)

    def test_it_appears_locked_with_everything_it_needs(self) -> None:
        # Whoever sees its name sees it complete: a crash in the middle must not leave a mailbox of root's, refused for ever.
        seen: list[tuple[int, int, int]] = []
        link = os.link

        def linked(source: object, name: str, **named: object) -> None:
            link(source, name, **named)  # type: ignore[call-overload]
            if name == "ann":
                found = os.stat(self.spool.path("ann"))
                seen.append((found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)))
                self.assertRaises(MailboxBusy, self.spool.mailbox(locking=Locking(dotlock=False)).lock, create=False)

        self.patch(os, "link", linked)
        self.spool.mailbox(group=os.getegid()).lock(create=True).release()
        self.assertEqual(seen, [(os.geteuid(), os.getegid(), 0o660)])

    def test_a_mailbox_that_another_program_made_in_between_is_used(self) -> None:
        link = os.link

        def other_is_quicker(source: object, name: str, **named: object) -> None:
            if name == "ann":
                self.spool.put("ann", ONE)
            link(source, name, **named)  # type: ignore[call-overload]

        self.patch(os, "link", other_is_quicker)
        with self.spool.mailbox().lock(create=True) as held:
            self.assertFalse(held.created)
            held.append([TWO])
        self.assertEqual(self.spool.content(), ONE + TWO)


class Refused(StoreCase):
    def refused(self, why: str, user: User | None = None) -> None:
        for create in (False, True):
            refusal = self.assertRaises(MailboxUnsafe, self.spool.mailbox(user=user).lock, create=create)
            self.assertEqual(str(refusal.status)[:10], "451 4.3.0 ")
            self.assertNotIn(self.spool.folder, str(refusal))
            self.assertIn(why, refusal.detail)
            told = self.spool.report.lines.pop()
            self.assertTrue(told.startswith(f"warning: mailbox of ann refused: {self.spool.path('ann')} "), told)
            self.assertIn(why, told)
            self.assertNotIn("ann.lock", self.spool.names())
        self.assertEqual(self.spool.report.lines, [])

    def test_a_symbolic_link(self) -> None:
        self.spool.put("other", ONE)
        os.symlink("other", self.spool.path("ann"))
        self.refused("is a symbolic link")
        os.unlink(self.spool.path("ann"))
        os.symlink("nowhere", self.spool.path("ann"))
        self.refused("is a symbolic link")
        self.assertEqual(self.spool.names(), ["ann", "other"])

    def test_a_second_name(self) -> None:
        self.spool.put("ann", ONE)
        os.link(self.spool.path("ann"), self.spool.path("other"))
        self.refused("has 2 names")

    def test_a_fifo_which_does_not_hold_us_up(self) -> None:
        os.mkfifo(self.spool.path("ann"))
        self.refused("is not a file")

    def test_a_folder_and_a_socket(self) -> None:
        os.mkdir(self.spool.path("ann"))
        self.refused("is a folder")
        os.rmdir(self.spool.path("ann"))
        with socket.socket(socket.AF_UNIX) as listening:
            folder = os.open(self.spool.folder, os.O_RDONLY)
            try:
                listening.bind(f"/proc/self/fd/{folder}/ann")  # the whole path is too long for a socket's name
            finally:
                os.close(folder)
            self.refused("is a socket")

    def test_someone_elses_file(self) -> None:
        """It is neither the user's nor ours, whoever we are: the file is this process's, which calls itself another."""
        self.spool.put("ann", ONE)
        uid = os.geteuid()
        for we in (0, uid + 2):
            patch = self.patch(os, "geteuid", lambda we=we: we)
            self.refused("belongs to uid", User("ann", uid + 1, 0))
            patch.restore()

    def test_the_log_names_the_command_that_gives_it_to_its_user(self) -> None:
        nobody, root = pwd.getpwnam("nobody"), grp.getgrgid(0).gr_name
        self.spool.put("ann", ONE)
        self.patch(os, "geteuid", lambda: 0)
        path, uid = self.spool.path("ann"), os.getuid()
        # The account of a passwd-file has a mailbox that belongs to mail_owner, whatever its own name.
        for owner, group, command in (
            (nobody.pw_uid, 0, f"chown nobody:{root} {path}"),
            (nobody.pw_uid, None, f"chown nobody {path}"),
            (4_000_001, 4_000_002, f"chown 4000001:4000002 {path}"),
        ):
            mailbox = self.spool.mailbox(user=User("ann", owner, 0), group=group)
            self.assertRaises(MailboxUnsafe, mailbox.lock, create=False)
            self.assertEqual(
                self.spool.report.lines.pop(),
                f"warning: mailbox of ann refused: {path} belongs to uid {uid}, not to ann ({owner}); if it is theirs: {command}",
            )

    def test_only_to_root_is_its_own_file_someone_elses(self) -> None:
        # Another user cannot give a file away. What a server without root made for ann is its own, and must stay ann's mailbox.
        self.spool.put("ann", ONE)
        ann = User("ann", os.geteuid() + 1, 0)
        uid = os.geteuid()
        patch = self.patch(os, "geteuid", lambda: uid or 1)
        if uid == 0:
            os.chown(self.spool.path("ann"), 1, -1)
        self.spool.mailbox(user=ann).lock(create=True).release()
        patch.restore()
        if uid == 0:
            ann = User("ann", 2, 0)
            self.refused("belongs to uid 1, not to ann (2)", ann)

    def test_a_folder_may_be_a_link_because_it_is_roots(self) -> None:
        os.symlink("mail", os.path.join(os.path.dirname(self.spool.folder), "spool"))
        self.spool.folder = os.path.join(os.path.dirname(self.spool.folder), "spool")
        self.spool.mailbox().lock(create=True).release()
        self.assertEqual(self.spool.names(), ["ann"])


class Replaced(StoreCase):
    def test_a_file_replaced_while_we_waited_for_the_lock_is_not_used(self) -> None:
        self.spool.put("ann", ONE)
        mailbox = self.spool.mailbox()
        lock = mailbox._lock_kernel

        def replace_then_lock(fd: int) -> None:
            self.spool.put("new", TWO)
            os.rename(self.spool.path("new"), self.spool.path("ann"))
            lock(fd)

        self.patch(mailbox, "_lock_kernel", replace_then_lock)
        self.assertRaises(MailboxBusy, mailbox.lock, create=False)
        self.assertEqual(self.spool.names(), ["ann"])

    def test_a_file_replaced_while_we_hold_the_locks_is_not_written_to(self) -> None:
        self.spool.put("ann", ONE)
        with self.spool.mailbox().lock(create=False) as held:
            self.spool.put("new", TWO)
            os.rename(self.spool.path("new"), self.spool.path("ann"))
            self.assertFalse(held.intact())
            self.assertRaises(MailboxBusy, held.append, [ONE])
            self.assertRaises(MailboxBusy, held.take_out, [(0, 3)])
        self.assertEqual(self.spool.content(), TWO)

    def test_whatever_is_put_in_its_place_nothing_is_written_elsewhere(self) -> None:
        # Somebody who may write to the folder swaps the mailbox for whatever they can think of, as fast as they can.
        victim = self.spool.path("victim")
        os.mkdir(self.spool.path("trap"))
        self.spool.put("victim", b"precious")
        other = self.spool.path("other")
        path = self.spool.path("ann")
        over = threading.Event()
        faults: list[BaseException] = []

        def swap() -> None:
            turn = 0
            while not over.is_set():
                turn += 1
                kinds = (
                    lambda: os.symlink("victim", other),
                    lambda: os.link(victim, other),
                    lambda: os.mkfifo(other),
                    lambda: os.mkdir(other),
                    lambda: self.spool.put("other", b""),
                )
                try:
                    kinds[turn % len(kinds)]()
                    if os.path.isdir(other) or os.path.isdir(path):
                        remove(path)
                    os.rename(other, path)
                except FileNotFoundError:
                    pass
                except OSError as error:
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR, errno.ENOTDIR):
                        faults.append(error)
                    remove(other)
                except BaseException as error:
                    faults.append(error)

        swapper = threading.Thread(target=swap)
        swapper.start()
        mailbox = self.spool.mailbox()
        outcomes: dict[str, int] = {}
        try:
            for _ in range(3000):
                try:
                    with mailbox.lock(create=True) as held:
                        held.append([ONE])
                    outcome = "appended"
                except (MailboxUnsafe, MailboxBusy) as refusal:
                    outcome = type(refusal).__name__
                outcomes[outcome] = outcomes.get(outcome, 0) + 1
        finally:
            over.set()
            swapper.join()
        self.assertEqual(faults, [])
        self.assertEqual(self.spool.content("victim"), b"precious")
        self.assertEqual(os.listdir(self.spool.path("trap")), [])
        # And both happened, so that the swaps met us and we met them.
        self.assertLessEqual({"appended", "MailboxUnsafe"}, set(outcomes), str(outcomes))


def remove(path: str) -> None:
    try:
        os.rmdir(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
    except FileNotFoundError:
        pass


class Appending(StoreCase):
    def test_it_returns_where_our_octets_begin(self) -> None:
        with self.spool.mailbox().lock(create=True) as held:
            self.assertEqual(held.append([ONE[:10], ONE[10:]]), 0)
            self.assertEqual(held.append([TWO]), len(ONE))
            self.assertEqual(held.length(), len(ONE + TWO))
            held.sync()
        self.assertEqual(self.spool.content(), ONE + TWO)

    def test_a_file_that_ends_anyhow_gets_what_separates(self) -> None:
        for end, between in ((b"", b"\n\n"), (b"\n", b"\n"), (b"\n\n", b"")):
            self.spool.put("ann", ONE.rstrip(b"\n") + end)
            with self.spool.mailbox().lock(create=False) as held:
                begin = held.append([TWO])
            self.assertEqual(self.spool.content(), ONE.rstrip(b"\n") + end + between + TWO)
            self.assertEqual(begin, len(ONE.rstrip(b"\n") + end))

    def test_pieces_of_any_size_come_whole(self) -> None:
        pieces = [b"x" * size for size in (1, 0, 70000, 3, 200000, 65536, 1)]
        with self.spool.mailbox().lock(create=True) as held:
            held.append(iter(pieces))
        self.assertEqual(self.spool.content(), b"".join(pieces))

    def test_a_failing_piece_leaves_the_file_as_it_was(self) -> None:
        def pieces() -> Iterator[bytes]:
            yield b"x" * 100000
            raise RuntimeError("the other file cannot be read")

        with self.spool.mailbox().lock(create=True) as held:
            held.append([ONE])
            self.assertRaises(RuntimeError, held.append, pieces())
            self.assertEqual(held.length(), len(ONE))
            held.append([TWO])
        self.assertEqual(self.spool.content(), ONE + TWO)

    def test_what_a_program_without_locks_puts_in_between_is_neither_overwritten_nor_cut_off(self) -> None:
        def pieces(error: Exception | None) -> Iterator[bytes]:
            yield b"x" * 100000
            with open(self.spool.path("ann"), "ab") as file:
                file.write(TWO)
            if error is not None:
                raise error
            yield b"y" * 100000

        for error in (None, OSError(errno.EIO, "the other file cannot be read")):
            self.spool.put("ann", ONE)
            with self.spool.mailbox().lock(create=False) as held:
                self.assertRaises(Uncut, held.append, pieces(error))
            self.assertEqual(self.spool.content(), ONE + b"x" * 100000 + TWO)

    def test_an_append_that_cannot_be_undone_says_so(self) -> None:
        def fail(fd: int, length: int) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        def pieces() -> Iterator[bytes]:
            yield b"x" * 100000
            raise OSError(errno.EIO, "the other file cannot be read")

        with self.spool.mailbox().lock(create=True) as held:
            self.patch(os, "ftruncate", fail)
            self.assertRaises(Uncut, held.append, pieces())
            self.assertTrue(held.unsound)

    def test_each_way_of_failing_has_its_answer(self) -> None:
        for code, expected in (
            (errno.ENOSPC, "452 4.3.1"),
            (errno.EFBIG, "452 4.3.1"),
            (errno.EDQUOT, "452 4.2.2"),
            (errno.EIO, "451 4.3.0"),
        ):
            pwrite = os.pwrite
            written = [0]

            def failing(fd: int, data: bytes, offset: int, pwrite=pwrite, written=written, code=code) -> int:  # type: ignore[no-untyped-def]
                if written[0]:
                    raise OSError(code, os.strerror(code))
                written[0] = pwrite(fd, data[:7], offset)  # a short write, as a disk gives that is nearly full
                return written[0]

            self.spool.put("ann", ONE)
            with self.spool.mailbox().lock(create=False) as held:
                self.patch(os, "pwrite", failing)
                failure = self.assertRaises(MailboxFailure, held.append, [TWO])
                self.patch(os, "pwrite", pwrite)
            self.assertIsInstance(failure, TemporaryFailure)
            self.assertEqual(str(failure.status)[:9], expected)
            self.assertNotIn(self.spool.folder, str(failure.status))
            self.assertIn(os.strerror(code), failure.detail)
            self.assertIn(os.strerror(code), self.spool.report.lines.pop())
            self.assertEqual(self.spool.content(), ONE)

    def test_a_file_size_limit_is_a_failure_and_not_a_death(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.spool.put("ann", ONE)
        with self.spool.mailbox().lock(create=False) as held:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
            try:
                failure = self.assertRaises(MailboxFailure, held.append, [b"x" * 70_000, b"y" * 70_000])
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        self.assertEqual(str(failure.status)[:9], "452 4.3.1")
        self.assertEqual(self.spool.content(), ONE)

    def test_a_disk_that_is_really_full_leaves_the_mailbox_as_it_was(self) -> None:
        disk = SmallDisk(self)
        with open(disk.path, "wb") as file:
            file.write(ONE)
        spool = Spool(self.mktemp())
        spool.folder = os.path.dirname(disk.path)
        with spool.mailbox().lock(create=False) as held:
            failure = self.assertRaises(MailboxFailure, held.append, [b"x" * 65536] * 40)
            self.assertEqual(held.append([TWO]), len(ONE))
        self.assertEqual(str(failure.status), "452 4.3.1 Not enough space for mail; try again later")
        self.assertEqual(spool.content(), ONE + TWO)

    def test_an_fsync_that_fails_is_a_failure(self) -> None:
        for which in ("file", "folder"):
            fsync = os.fsync

            def failing(fd: int, which=which, fsync=fsync) -> None:  # type: ignore[no-untyped-def]
                if stat.S_ISDIR(os.fstat(fd).st_mode) == (which == "folder"):
                    raise OSError(errno.EIO, "Input/output error")
                fsync(fd)

            self.spool.mailbox(which).lock(create=True).release()
            with self.spool.mailbox(which).lock(create=True) as held:
                held.append([ONE])
                self.patch(os, "fsync", failing)
                failure = self.assertRaises(MailboxFailure, held.sync)
                if which == "file":
                    self.assertRaises(MailboxFailure, held.cut_back, 0)
                self.patch(os, "fsync", fsync)
            self.assertEqual(failure.status, Status(451, "4.3.0", "Mailbox cannot be used now; try again later"))

    def test_the_name_of_a_file_that_was_empty_is_synced_too(self) -> None:
        synced: list[bool] = []
        fsync = os.fsync

        def remembering(fd: int) -> None:
            synced.append(stat.S_ISDIR(os.fstat(fd).st_mode))
            fsync(fd)

        self.patch(os, "fsync", remembering)
        mailbox = self.spool.mailbox()
        self.spool.put("ann", b"")
        # Made by a process that was killed before it could sync: the name may not be on the disk yet.
        with mailbox.lock(create=True) as held:
            held.append([ONE])
            held.sync()
            held.sync()
        with mailbox.lock(create=True) as held:
            held.append([ONE])
            held.sync()
        self.assertEqual(synced, [False, True, False, False])

    def test_the_name_of_a_new_mailbox_is_synced_before_anybody_else_can_write_to_it(self) -> None:
        synced: list[bool] = []
        self.patch(os, "fsync", lambda fd: synced.append(stat.S_ISDIR(os.fstat(fd).st_mode)))
        with self.spool.mailbox().lock(create=True) as held:
            self.assertEqual(synced, [True])
            held.append([ONE])
            held.sync()
        self.assertEqual(synced, [True, False])

    def test_a_second_name_that_it_gets_while_it_is_locked_is_seen_too(self) -> None:
        with self.spool.mailbox().lock(create=True) as held:
            os.link(held.path, held.path + ".copy")
            self.assertRaises(MailboxBusy, held.append, [ONE])
        self.assertEqual(self.spool.content(), b"")

    def test_cutting_back_never_makes_it_longer(self) -> None:
        with self.spool.mailbox().lock(create=True) as held:
            held.append([ONE])
            held.append([TWO])
            held.cut_back(len(ONE))
            self.assertEqual(held.length(), len(ONE))
            held.cut_back(10_000)
            self.assertEqual(held.length(), len(ONE))
        self.assertEqual(self.spool.content(), ONE)

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.binary(max_size=40), max_size=8), st.integers(0, 400))
    def test_any_short_writes_come_to_the_same(self, pieces: list[bytes], seed: int) -> None:
        spool = Spool(self.mktemp())
        pwrite = os.pwrite
        sizes = iter([1 + (seed * n) % 7 for n in range(1, 1000)])
        os.pwrite = lambda fd, data, offset: pwrite(fd, data[: next(sizes)], offset)
        try:
            with spool.mailbox().lock(create=True) as held:
                held.append(pieces)
        finally:
            os.pwrite = pwrite
        self.assertEqual(spool.content(), b"".join(pieces))


class SmallDisk:
    """A file system of one megabyte, mounted for the time of a test; ``path`` is that of a mailbox on it."""

    def __init__(self, case: SynchronousTestCase) -> None:
        folder = os.path.abspath(case.mktemp())
        os.mkdir(folder)
        command = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=755", "lanmail-test", folder]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
            raise SkipTest("needs the right to mount a small file system")
        case.addCleanup(subprocess.run, ["umount", folder], check=True)
        self.path = os.path.join(folder, "ann")


class TakingOut(StoreCase):
    def test_messages_go_and_the_file_stays_the_same_file(self) -> None:
        self.spool.put("ann", ONE + TWO + ONE)
        os.chmod(self.spool.path("ann"), 0o640)
        before = os.stat(self.spool.path("ann"))
        with self.spool.mailbox().lock(create=False) as held:
            held.take_out([(0, len(ONE))])
            held.append([ONE])
        self.assertEqual(self.spool.content(), TWO + ONE + ONE)
        found = os.stat(self.spool.path("ann"))
        self.assertEqual((found.st_ino, found.st_mode, found.st_uid), (before.st_ino, before.st_mode, before.st_uid))
        self.assertEqual((os.listdir(self.spool.state), self.spool.names()), ([], ["ann"]))

    def test_everything_leaves_an_empty_file(self) -> None:
        self.spool.put("ann", ONE + TWO)
        with self.spool.mailbox().lock(create=False) as held:
            held.take_out([(0, len(ONE)), (len(ONE), len(ONE + TWO))])
        self.assertEqual(self.spool.content(), b"")

    def interrupt(self) -> None:
        """An expunge of the first of three that stops before the second sync of the mailbox, with an error."""
        self.spool.put("ann", ONE + TWO + ONE)
        inode = os.stat(self.spool.path("ann")).st_ino
        fsync = os.fsync
        calls = [0]

        def failing(fd: int) -> None:
            if os.fstat(fd).st_ino == inode:
                calls[0] += 1
                raise OSError(errno.EIO, "Input/output error")
            fsync(fd)

        with self.spool.mailbox().lock(create=False) as held:
            self.patch(os, "fsync", failing)
            self.assertRaises(MailboxFailure, held.take_out, [(0, len(ONE))])
            self.patch(os, "fsync", fsync)
        self.assertEqual(calls, [1])

    def test_after_a_failure_in_the_middle_the_dotlock_stays_and_the_next_use_finishes(self) -> None:
        self.interrupt()
        self.assertEqual(self.spool.names(), ["ann", "ann.lock"])
        self.assertEqual(expunge.interrupted(self.spool.state), ["ann"])
        seen: list[int] = []
        with self.spool.mailbox(mend=lambda held: seen.append(held.length())).lock(create=False) as held:
            self.assertEqual(held.length(), len(TWO + ONE))
        self.assertEqual(seen, [len(TWO + ONE)])  # what mends sees it finished
        self.assertEqual(self.spool.content(), TWO + ONE)
        self.assertEqual((self.spool.names(), expunge.interrupted(self.spool.state)), (["ann"], []))
        self.assertIn("finished an interrupted expunge", self.spool.report.lines[-1])

    def test_what_another_program_delivered_since_is_kept(self) -> None:
        self.interrupt()
        with open(self.spool.path("ann"), "ab") as file:
            file.write(TWO)
        self.spool.mailbox().lock(create=False).release()
        self.assertEqual(self.spool.content(), TWO + ONE + TWO)

    def test_a_file_that_took_its_place_is_not_touched(self) -> None:
        self.interrupt()
        self.spool.put("new", ONE)
        os.rename(self.spool.path("new"), self.spool.path("ann"))
        with self.spool.mailbox().lock(create=True) as held:
            held.append([TWO])
        self.assertEqual(self.spool.content(), ONE + TWO)
        self.assertEqual(expunge.interrupted(self.spool.state), [])
        self.assertEqual(len(os.listdir(self.spool.state)), 1)
        self.assertIn("nothing was done, the journal is kept as", self.spool.report.lines[-1])

    def test_while_it_cannot_be_finished_the_mailbox_is_not_used(self) -> None:
        self.interrupt()
        fsync = os.fsync

        def failing(fd: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        self.patch(os, "fsync", failing)
        self.assertRaises(MailboxFailure, self.spool.mailbox().lock, create=True)
        self.patch(os, "fsync", fsync)
        self.assertEqual(expunge.interrupted(self.spool.state), ["ann"])
        self.spool.mailbox().lock(create=False).release()
        self.assertEqual(self.spool.content(), TWO + ONE)


class Settling(StoreCase):
    def test_what_must_be_settled_is_before_anything_is_taken_out(self) -> None:
        seen: list[bytes] = []
        self.spool.put("ann", ONE + TWO)
        with self.spool.mailbox(settle=lambda held: seen.append(self.spool.content())).lock(create=False) as held:
            held.take_out([(0, len(ONE))])
        self.assertEqual((seen, self.spool.content()), ([ONE + TWO], TWO))

    def test_where_it_cannot_be_nothing_is_taken_out(self) -> None:
        def settle(held: LockedMailbox) -> None:
            raise MailboxFailure("the journal does not work")

        self.spool.put("ann", ONE + TWO)
        with self.spool.mailbox(settle=settle).lock(create=False) as held:
            self.assertRaises(MailboxFailure, held.take_out, [(0, len(ONE))])
        self.assertEqual(self.spool.content(), ONE + TWO)


class Mending(StoreCase):
    def test_what_mends_sees_the_mailbox_before_anybody_else(self) -> None:
        self.spool.put("ann", ONE + b"From torn")

        def mend(held: LockedMailbox) -> None:
            held.cut_back(len(ONE))

        with self.spool.mailbox(mend=mend).lock(create=False) as held:
            self.assertEqual(held.length(), len(ONE))

    def test_if_it_fails_nothing_stays_locked(self) -> None:
        for trouble in (PermanentFailure(Status(550, "5.0.0", "no")), Crash(), RuntimeError()):

            def mend(held: LockedMailbox, trouble: BaseException = trouble) -> None:
                raise trouble

            self.assertRaises(type(trouble), self.spool.mailbox(mend=mend).lock, create=True)
            self.assertEqual(self.spool.names(), ["ann"])
            self.spool.mailbox().lock(create=False).release()

    def test_letting_go_twice_is_once(self) -> None:
        with self.spool.mailbox().lock(create=True) as held:
            held.release()
            with self.spool.mailbox().lock(create=True):
                held.release()
                self.assertEqual(self.spool.names(), ["ann", "ann.lock"])

    def test_no_descriptor_is_left_open(self) -> None:
        def opened() -> int:
            return len(os.listdir("/proc/self/fd"))

        before = opened()
        for _ in range(3):
            with self.spool.mailbox().lock(create=True) as held:
                self.assertRaises(MailboxBusy, self.spool.mailbox().lock, create=True)
                self.assertRaises(MailboxBusy, self.spool.mailbox(locking=Locking(dotlock=False)).lock, create=True)
                held.append([ONE, TWO])
                held.take_out([(0, len(ONE))])
        os.unlink(self.spool.path("ann"))
        os.mkdir(self.spool.path("ann"))
        self.assertRaises(MailboxUnsafe, self.spool.mailbox().lock, create=True)
        self.assertEqual(opened(), before)
