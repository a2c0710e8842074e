from __future__ import annotations

import os
import random
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.powercut.disk import Disk, File, Unknown
from tests.powercut.recorder import Step
from tests.powercut.remains import FATES, PAGE, SECTOR, draw, octets_left


def disk_after(*steps: Step) -> Disk:
    """``/d`` is a folder that was there, inode 1."""
    disk = Disk(("/d",))
    disk._put("/d", File(1, folder=True))
    disk.durable = dict(disk.names)
    for step in steps:
        disk.do(step)
    return disk


def sync(inode: int, path: str = "/d", number: int = 0) -> tuple[Step, Step]:
    return Step("S", inode=inode, path=path, number=number), Step("E", number=number)


def states(disk: Disk, draws: int = 300) -> list[dict[str, bytes]]:
    """What may be left, in many draws."""
    chance = random.Random(5)
    return [
        {path: octets for path, (file, octets) in draw(disk, chance).items() if not file.folder} for _ in range(draws)
    ]


OLD, NEW = b"o" * 3000, b"n" * 6000
MADE = (Step("C", inode=2, path="/d/draft"), Step("W", inode=2, data=NEW))
RENAMED = Step("N", path="/d/draft", other="/d/file")


class NamesTests(SynchronousTestCase):
    def with_old(self, *steps: Step) -> list[dict[str, bytes]]:
        disk = disk_after()
        disk._put("/d/file", File(3, OLD))
        disk.durable = dict(disk.names)
        for step in steps:
            disk.do(step)
        return states(disk)

    def test_write_sync_rename_leaves_the_old_or_the_new_file(self) -> None:
        found = [state["/d/file"] for state in self.with_old(*MADE, *sync(2), RENAMED)]
        self.assertEqual(set(found), {OLD, NEW})

    def test_without_the_sync_of_the_file_the_rename_may_bring_an_empty_or_torn_one(self) -> None:
        found = {state["/d/file"] for state in self.with_old(*MADE, RENAMED)}
        self.assertIn(b"", found)
        self.assertTrue(any(state.startswith(b"\0") for state in found), "no NULs")

    def test_the_sync_of_the_folder_makes_the_rename_last(self) -> None:
        self.assertEqual({state["/d/file"] for state in self.with_old(*MADE, *sync(2), RENAMED, *sync(1))}, {NEW})

    def test_a_sync_of_a_file_makes_no_name_last(self) -> None:
        found = states(disk_after(*MADE, *sync(2)))
        self.assertIn({}, found)
        self.assertIn({"/d/draft": NEW}, found)

    def test_a_file_without_a_name_has_one_for_certain_once_its_folder_is_synced(self) -> None:
        nameless = (Step("T", inode=2), Step("W", inode=2, data=b"x"), *sync(2), Step("L", inode=2, path="/d/file"))
        self.assertIn({}, states(disk_after(*nameless)))
        self.assertEqual([{"/d/file": b"x"}] * 300, states(disk_after(*nameless, *sync(1))))

    def test_a_removed_file_may_come_back_until_the_folder_is_synced(self) -> None:
        made = (*MADE, *sync(2), *sync(1), Step("U", path="/d/draft"))
        self.assertIn({"/d/draft": NEW}, states(disk_after(*made)))
        self.assertEqual([{}] * 300, states(disk_after(*made, *sync(1))))

    def test_names_of_one_folder_are_lost_from_the_last_one_back(self) -> None:
        names = [Step("C", inode=10 + number, path=f"/d/{number}") for number in range(5)]
        for state in states(disk_after(*names)):
            self.assertEqual(sorted(state), [f"/d/{number}" for number in range(len(state))])

    def test_names_of_two_folders_may_come_out_of_order(self) -> None:
        both = (Step("D", inode=5, path="/d/sub"), *sync(1), *MADE, Step("C", inode=9, path="/d/sub/late"))
        self.assertTrue(any(set(state) == {"/d/sub/late"} for state in states(disk_after(*both))))

    def test_what_is_in_a_folder_that_is_lost_is_lost(self) -> None:
        steps = (Step("D", inode=5, path="/d/sub"), Step("C", inode=9, path="/d/sub/file"), *sync(5, "/d/sub"))
        found = states(disk_after(*steps))
        self.assertIn({}, found)
        self.assertIn({"/d/sub/file": b""}, found)
        deeper = (*steps, Step("D", inode=7, path="/d/sub/deep"), Step("C", inode=8, path="/d/sub/deep/file"))
        for state in states(disk_after(*deeper, *sync(5, "/d/sub"), *sync(7, "/d/sub/deep"))):
            self.assertIn(len(state), (0, 2))

    def test_what_is_done_elsewhere_does_not_count(self) -> None:
        self.assertEqual(
            [{}] * 300, states(disk_after(Step("D", inode=5, path="/e"), Step("C", inode=9, path="/e/file")))
        )

    def test_a_move_to_another_folder_is_not_modelled_and_so_refused(self) -> None:
        disk = disk_after(*MADE, Step("D", inode=5, path="/d/sub"))
        self.assertRaises(Unknown, disk.do, Step("N", path="/d/draft", other="/d/sub/file"))


class OctetsTests(SynchronousTestCase):
    def left(self, *steps: Step, old: bytes = OLD) -> list[bytes]:
        disk = disk_after()
        disk._put("/d/file", File(3, old))
        disk.durable = dict(disk.names)
        for step in steps:
            disk.do(step)
        return [state["/d/file"] for state in states(disk)]

    def test_what_was_synced_is_never_hurt_by_an_append(self) -> None:
        found = set(self.left(Step("W", inode=3, number=len(OLD), data=NEW)))
        self.assertEqual({state[: len(OLD)] for state in found}, {OLD})
        self.assertGreater(len(found), 20)
        self.assertTrue({OLD, OLD + NEW, OLD + bytes(len(NEW))} <= found)

    def test_two_appends_may_be_there_in_the_wrong_order(self) -> None:
        first, second = b"1" * PAGE, b"2" * PAGE
        steps = (Step("W", inode=3, data=first), Step("W", inode=3, number=PAGE, data=second))
        self.assertIn(bytes(PAGE) + second, self.left(*steps, old=b""))

    def test_a_page_may_be_torn_between_its_sectors(self) -> None:
        found = self.left(Step("W", inode=3, data=b"n" * PAGE), old=b"o" * PAGE)
        self.assertTrue(any(b"on" in state and b"no" in state for state in found))
        self.assertEqual({len(state) for state in found}, {PAGE})
        for state in found:
            self.assertTrue(all(len(set(state[at : at + SECTOR])) == 1 for at in range(0, PAGE, SECTOR)))

    def test_a_sync_covers_what_was_written_before_it_began_and_no_more(self) -> None:
        begin, end = sync(3, "/d/file")
        late = Step("W", inode=3, number=0, data=b"late")
        before = Step("W", inode=3, number=0, data=b"soon")
        self.assertEqual(set(self.left(before, begin, late, end)), {b"soon" + OLD[4:], b"late" + OLD[4:]})
        self.assertIn(OLD, self.left(before, begin), "a sync that has not ended promises nothing")

    def test_what_was_cut_off_and_written_anew_is_old_or_new_or_nul_but_the_old_tail_does_not_come_behind_the_cut(
        self,
    ) -> None:
        cut = Step("Z", inode=3, number=0)
        found = set(self.left(cut, Step("W", inode=3, data=b"n" * 2 * PAGE), old=b"o" * 3 * PAGE))
        self.assertTrue({b"o" * 3 * PAGE, b"", b"n" * 2 * PAGE} <= found)
        for state in found:
            self.assertTrue(len(state) == 3 * PAGE or b"o" not in state, len(state))
            self.assertTrue(len(state) < 3 * PAGE or b"n" not in state, len(state))

    def test_growing_by_truncate_or_fallocate_brings_nul(self) -> None:
        for kind in "ZA":
            found = set(self.left(Step(kind, inode=3, number=9000)))
            self.assertTrue(found == {OLD, OLD + bytes(6000)}, f"{kind}: {sorted(map(len, found))}")


CHANGE = st.one_of(
    st.tuples(st.just("W"), st.integers(0, 9000), st.binary(min_size=1, max_size=3).map(lambda piece: piece * 1500)),
    st.tuples(st.just("Z"), st.integers(0, 12_000), st.just(b"")),
    st.tuples(st.just("A"), st.integers(0, 12_000), st.just(b"")),
)


class PropertyTests(SynchronousTestCase):
    @settings(max_examples=150, deadline=None)
    @given(
        st.binary(max_size=3).map(lambda piece: piece * 3000),
        st.lists(CHANGE, max_size=6),
        st.integers(),
        st.integers(0, 6),
    )
    def test_every_octet_that_is_left_once_stood_there_or_is_nul(
        self, old: bytes, changes: Sequence[tuple[str, int, bytes]], seed: int, synced: int
    ) -> None:
        file = File(2, old)
        disk = Disk((), {2: file}, {"/f": file}, {"/f": file})
        history: list[bytes] = []
        for number, (kind, at, data) in enumerate(changes):
            if number == synced:
                disk.do(Step("S", inode=2, path="/f"))
                disk.do(Step("E"))
                self.assertEqual(file.pending, [])
            disk.do(Step(kind, inode=2, number=at, data=data))
        history.append(bytes(file.durable))
        seen = bytearray(file.durable)
        for change in file.pending:
            change.apply(seen)
            history.append(bytes(seen))
        chance = random.Random(seed)
        for fate in FATES:
            left = octets_left(file, fate, chance)
            self.assertLessEqual(len(left), max(map(len, history)))
            for at in range(0, len(left), 97):
                self.assertIn(left[at], {state[at] for state in history if at < len(state)} | {0})
        self.assertEqual(octets_left(file, "kept", chance), history[-1])
        self.assertEqual(octets_left(file, "lost", chance), history[0])


class RealFolderTests(SynchronousTestCase):
    def test_a_folder_is_read_as_it_is(self) -> None:
        top = os.path.abspath(self.mktemp())
        os.makedirs(os.path.join(top, "sub"))
        for name in ("file", "sub/log-shm"):
            with open(os.path.join(top, name), "wb") as file:
                file.write(b"text")
        disk = Disk.of([top])
        self.assertEqual(sorted(disk.durable), [top, f"{top}/file", f"{top}/sub"])
        self.assertEqual(disk.names[f"{top}/file"].seen(), b"text")
        self.assertEqual(disk.files[os.stat(f"{top}/sub").st_ino].folder, True)
