"""Taking messages out of a mailbox: stopped at every step, it is as before or as after, and what others did since is kept."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.mailbox import expunge
from tests.mailbox.fragile import MAILBOX, STATE, Crash, FragileDisk, everything, nothing, some

JOURNAL = expunge.journal_path(STATE, "ann")


def still() -> None:
    """Nobody's lock grows old here."""


def without(content: bytes, ranges: list[tuple[int, int]]) -> bytes:
    """What taking out means, said simply."""
    kept, at = b"", 0
    for start, end in ranges:
        kept += content[at:start]
        at = end
    return kept + content[at:]


def message(name: str, lines: int) -> bytes:
    return f"From {name} Mon\n\n".encode() + b"".join(b"%s %d\n" % (name.encode(), n) for n in range(lines)) + b"\n"


MESSAGES = [message(name, lines) for name, lines in (("ann", 3), ("bob", 1), ("eve", 6), ("joe", 2), ("kim", 4))]
BEFORE = b"".join(MESSAGES)
EDGES = [(sum(map(len, MESSAGES[:n])), sum(map(len, MESSAGES[: n + 1]))) for n in range(len(MESSAGES))]


def take_out(disk: FragileDisk, ranges: list[tuple[int, int]], window: int = 16) -> None:
    expunge.take_out(3, JOURNAL, ranges, keep_alive=still, disk=disk, window=window)


def finish(disk: FragileDisk, window: int = 16) -> str:
    return expunge.finish(3, JOURNAL, keep_alive=still, disk=disk, window=window)


def operations(ranges: list[tuple[int, int]], window: int = 16) -> int:
    """How many there are to be stopped at."""
    disk = FragileDisk(BEFORE)
    take_out(disk, ranges, window)
    return disk.done


def survivals(seed: int) -> Iterator[tuple[str, object, bool]]:
    yield "killed", everything, True
    for names in (False, True):
        yield "power cut, nothing kept", nothing, names
        for turn in range(3):
            yield f"power cut {turn}", some(random.Random(f"{seed} {turn}")), names


class TakingOut(SynchronousTestCase):
    def test_the_other_messages_stay_in_their_order(self) -> None:
        for chosen in range(2 ** len(EDGES)):
            ranges = [edge for n, edge in enumerate(EDGES) if chosen >> n & 1]
            for window in (7, 64, 1 << 20):
                disk = FragileDisk(BEFORE)
                take_out(disk, ranges, window)
                self.assertEqual(disk.mailbox.durable, without(BEFORE, ranges))
                self.assertEqual(list(disk.durable_names), [MAILBOX])

    def test_everything_goes_with_one_truncate_and_no_journal(self) -> None:
        disk = FragileDisk(BEFORE)
        take_out(disk, EDGES)
        self.assertEqual(disk.done, 2)  # truncate, sync

    def test_nothing_to_take_out_touches_nothing(self) -> None:
        disk = FragileDisk(BEFORE)
        take_out(disk, [])
        take_out(disk, [(5, 5)])
        self.assertEqual(disk.done, 0)

    def test_ranges_out_of_order_or_beyond_the_end_are_refused(self) -> None:
        for ranges in ([(10, 5)], [(10, 20), (5, 8)], [(0, len(BEFORE) + 1)], [(0, 10), (9, 12)], [(-1, 3)]):
            disk = FragileDisk(BEFORE)
            self.assertRaises(ValueError, take_out, disk, ranges)
            self.assertEqual(disk.done, 0)

    def test_the_lock_is_kept_alive_in_each_step(self) -> None:
        beats: list[int] = []
        disk = FragileDisk(BEFORE)
        expunge.take_out(3, JOURNAL, EDGES[:1], keep_alive=lambda: beats.append(1), disk=disk, window=16)
        self.assertGreater(len(beats), 5)

    def test_a_full_state_folder_gets_a_smaller_journal(self) -> None:
        path = self.mktemp()
        body = os.urandom(3 << 20)
        with open(path, "w+b") as file:
            file.write(body)
            file.flush()
            disk = Cramped(1 << 20)
            expunge.take_out(file.fileno(), self.mktemp(), [(0, 1000)], keep_alive=still, disk=disk)
            file.seek(0)
            self.assertEqual(file.read(), body[1000:])
        self.assertEqual(disk.refused, 1)


class Cramped(type(expunge.SYSTEM)):  # type: ignore[misc]
    """A disk with so many octets left."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.refused = 0

    def reserve(self, fd: int, length: int) -> None:
        if length > self.left:
            self.refused += 1
            raise OSError(errno.ENOSPC, "full")
        super().reserve(fd, length)


class Interrupted(SynchronousTestCase):
    """Every operation is one to be stopped at; see ``fragile.py`` for what may be left then."""

    PLANS = (
        [EDGES[0]],
        [EDGES[0], EDGES[2]],
        [EDGES[1], EDGES[3]],
        [EDGES[0], EDGES[4]],
        EDGES[:4],
        EDGES[1:3],
        EDGES[2:],
        [EDGES[4]],
    )

    def stopped(self, ranges: list[tuple[int, int]], window: int = 16) -> Iterator[tuple[str, FragileDisk]]:
        for step in range(1, operations(ranges, window) + 1):
            for seed, (name, survives, names) in enumerate(survivals(step)):
                disk = FragileDisk(BEFORE)
                disk.stop_at = step
                self.assertRaises(Crash, take_out, disk, ranges, window)
                disk.restart(survives, names)  # type: ignore[arg-type]
                yield f"{ranges}, stopped at {step}, {name} {seed}", disk

    def test_it_is_as_before_or_as_after(self) -> None:
        for ranges in self.PLANS:
            for window in (16, 1 << 20):
                outcomes = set()
                for told, disk in self.stopped(ranges, window):
                    had_journal = JOURNAL in disk.names
                    finish(disk, window)
                    expected = (BEFORE, without(BEFORE, ranges))
                    self.assertIn(disk.mailbox.durable, expected, told)
                    self.assertEqual(disk.mailbox.durable, disk.mailbox.seen)
                    self.assertNotIn(JOURNAL, disk.durable_names)
                    if had_journal:
                        self.assertEqual(disk.mailbox.durable, without(BEFORE, ranges), told)
                    outcomes.add(disk.mailbox.durable == BEFORE)
                self.assertEqual(outcomes, {False, True})

    def test_what_others_appended_since_is_kept(self) -> None:
        for ranges in self.PLANS:
            after = without(BEFORE, ranges)
            # The last is the hardest: octet for octet what the cut removes, or would have removed.
            for appended in (message("new", 1), message("new", 30), BEFORE[len(after) :]):
                for told, disk in self.stopped(ranges):
                    disk.mailbox.do("write", len(disk.mailbox.seen), appended)
                    finish(disk)
                    self.assertIn(disk.mailbox.seen, (BEFORE + appended, after + appended), told)
                    self.assertNotIn(JOURNAL, disk.names)

    def test_a_mailbox_that_another_program_rewrote_since_is_left_alone(self) -> None:
        for ranges in self.PLANS:
            rewritings = (
                lambda seen: b"",
                lambda seen: seen[: len(seen) // 2],
                lambda seen: seen.replace(b"\n\n", b"\nStatus: RO\n\n"),
                lambda seen: message("other", 200),
            )
            for rewritten in rewritings:
                for told, disk in self.stopped(ranges):
                    if JOURNAL not in disk.names:
                        continue
                    found = rewritten(bytes(disk.mailbox.seen))
                    disk.mailbox.do("truncate", 0)
                    disk.mailbox.do("write", 0, found)
                    finish(disk)
                    self.assertEqual(disk.mailbox.seen, found, told)
                    self.assertNotIn(JOURNAL, disk.names)

    def test_another_file_in_its_place_is_left_alone_and_the_journal_is_kept_aside(self) -> None:
        disk = FragileDisk(BEFORE)
        disk.stop_at = operations([EDGES[0]]) - 8
        self.assertRaises(Crash, take_out, disk, [EDGES[0]])
        disk.restart(everything, True)
        other = type(disk.mailbox)(BEFORE)
        disk.names[MAILBOX] = disk.mailbox = other
        disk.restart(everything, True)
        told = finish(disk)
        self.assertIn("it is another file", told)
        self.assertEqual(other.seen, BEFORE)
        self.assertEqual(
            [name for name in disk.durable_names if ".aside-" in name], [name for name in disk.names if STATE in name]
        )
        self.assertEqual(finish(disk), "")

    def test_a_device_with_another_number_after_a_restart_is_the_same_device(self) -> None:
        for boot, expected in ((1, "it is another file"), (2, "finished")):
            disk = FragileDisk(BEFORE)
            disk.stop_at = operations([EDGES[0]]) - 8
            self.assertRaises(Crash, take_out, disk, [EDGES[0]])
            disk.restart(nothing, True)
            disk.identity = lambda fd, disk=disk: (77, id(disk.mailbox))  # type: ignore[method-assign]
            disk.boot_id = boot
            self.assertIn(expected, finish(disk))

    def test_a_damaged_journal_is_put_aside(self) -> None:
        disk = FragileDisk(BEFORE)
        disk.names[JOURNAL] = type(disk.mailbox)(b"lanmail expunge\n" + b"?" * 100)
        self.assertIn("damaged", finish(disk))
        self.assertEqual(disk.mailbox.seen, BEFORE)
        self.assertNotIn(JOURNAL, disk.durable_names)

    def test_an_error_at_any_step_is_an_error_and_the_next_use_finishes(self) -> None:
        for ranges in self.PLANS:
            for code in (errno.EIO, errno.ENOSPC):
                for step in range(1, operations(ranges) + 1):
                    disk = FragileDisk(BEFORE)
                    disk.stop_at, disk.error = step, code
                    try:
                        take_out(disk, ranges)
                    except OSError as error:
                        self.assertEqual(error.errno, code)
                    else:
                        self.fail(f"an error at step {step} was swallowed")
                    disk.stop_at = None
                    finish(disk)
                    # What an fsync that failed has lost must be on the disk now all the same.
                    self.assertEqual(disk.mailbox.durable, disk.mailbox.seen, f"{ranges} {step}")
                    self.assertIn(disk.mailbox.durable, (BEFORE, without(BEFORE, ranges)))

    def test_a_power_cut_after_an_error_does_not_find_the_journal_missing(self) -> None:
        # The error was of the journal's fsync: the system shows its octets, but the disk does not have them.
        for ranges in self.PLANS[:2]:
            for step in range(1, operations(ranges, 32) + 1):
                for again in range(1, 40):
                    disk = FragileDisk(BEFORE)
                    disk.stop_at, disk.error = step, errno.EIO
                    self.assertRaises(OSError, take_out, disk, ranges, 32)
                    disk.done, disk.stop_at, disk.error = 0, again, None
                    try:
                        finish(disk, 32)
                    except Crash:
                        disk.restart(some(random.Random(f"{step} {again}")), False)
                        finish(disk, 32)
                    self.assertIn(disk.mailbox.durable, (BEFORE, without(BEFORE, ranges)), f"{ranges} {step} {again}")

    @settings(max_examples=300, deadline=None)
    @given(st.data())
    def test_however_often_it_is_stopped_nothing_is_lost(self, data: st.DataObject) -> None:
        chance = random.Random(data.draw(st.integers(0, 2**32)))
        window = data.draw(st.sampled_from([1, 5, 16, 33, 1000]))
        cuts = sorted(data.draw(st.sets(st.integers(0, len(BEFORE)), min_size=2, max_size=8)))
        ranges = list(zip(cuts[::2], cuts[1::2], strict=False))
        disk = FragileDisk(BEFORE)
        after = without(BEFORE, ranges)
        appended = b""
        disk.stop_at = data.draw(st.integers(1, operations(ranges, window) + 1))
        crashes = data.draw(st.integers(1, 5))
        for turn in range(crashes + 1):
            try:
                if turn == 0:
                    take_out(disk, ranges, window)
                else:
                    finish(disk, window)
                break
            except Crash:
                disk.restart(data.draw(st.sampled_from([everything, nothing, some(chance)])), data.draw(st.booleans()))
                if data.draw(st.booleans()):
                    new = data.draw(st.sampled_from([message("new", turn), BEFORE[len(after) :]]))
                    disk.mailbox.do("write", len(disk.mailbox.seen), new)
                    disk.sync(3)
                    appended += new
                disk.done = 0
                disk.stop_at = data.draw(st.integers(1, 60)) if turn + 1 < crashes else None
        self.assertIn(bytes(disk.mailbox.seen), (BEFORE + appended, after + appended))
        self.assertNotIn(JOURNAL, disk.names)


class OnARealDisk(SynchronousTestCase):
    def test_inode_owner_and_mode_stay(self) -> None:
        path, state = self.mktemp(), self.mktemp()
        os.mkdir(state)
        with open(path, "w+b") as file:
            file.write(BEFORE)
            file.flush()
            os.fchmod(file.fileno(), 0o640)
            before = os.stat(path)
            expunge.take_out(file.fileno(), expunge.journal_path(state, "ann"), [EDGES[0]], keep_alive=still)
        found = os.stat(path)
        self.assertEqual(
            (found.st_ino, found.st_uid, found.st_gid, found.st_mode),
            (before.st_ino, before.st_uid, before.st_gid, before.st_mode),
        )
        self.assertEqual(os.listdir(state), [])

    def test_a_journal_that_a_crash_left_before_it_counted_is_swept(self) -> None:
        folder = self.mktemp()
        os.mkdir(folder)
        for name in ("ann.expunge", "ann.expunge.new", "bob.expunge.aside-1", "new"):
            with open(os.path.join(folder, name), "wb"):
                pass
        expunge.sweep(folder)
        self.assertEqual(sorted(os.listdir(folder)), ["ann.expunge", "bob.expunge.aside-1", "new"])

    def test_a_journal_is_readable_to_us_alone_and_names_its_owner(self) -> None:
        path, state = self.mktemp(), self.mktemp()
        os.mkdir(state)
        journal = expunge.journal_path(state, "ann")
        modes: list[int] = []

        def look() -> None:
            modes.append(os.stat(journal).st_mode & 0o777)
            owners.extend(expunge.interrupted(state))

        owners: list[str] = []
        old = os.umask(0)
        try:
            with open(path, "w+b") as file:
                file.write(BEFORE)
                file.flush()
                expunge.take_out(file.fileno(), journal, [EDGES[0]], keep_alive=look)
        finally:
            os.umask(old)
        self.assertEqual((modes, owners), ([0o600], ["ann"]))
        self.assertEqual(expunge.interrupted(state), [])
