"""Recovery after every kind of cut: of a small round at each octet, and of random ones with other programs in between."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st

from lanmail.mailbox.mbox import separation
from tests.spool.crashed import BEFORE_THE_CUT, NOW, OLD, CrashTestCase, piece

IDS = ("222CF6745D", "222CF6745E", "222CF67460")
ROUND = b"".join(map(piece, IDS))
BEFORE = (OLD, b"", OLD[:-1], OLD[:-2])
OTHERS = (
    b"From other@lan.example  Mon Nov 23 12:00:05 2026\nSubject: by another program\n\nother\n\n",
    # One that looks like ours for as long as possible.
    b"From ann@lan.example  Mon Nov 23 12:00:01 2026\nReturn-Path: <ann@lan.example>\nX-Original-To: someone else\n\nother\n\n",
    b"\nFrom  Mon Nov 23 12:00:05 2026\n\nbehind an empty line of its own\n\n",
)


class CutTestCase(CrashTestCase):
    def setUp(self) -> None:
        super().setUp()
        # Hundreds of journals, and what is asked here is not whether they reach the disk.
        self.top = tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
        self.addCleanup(shutil.rmtree, self.top)
        self.count = itertools.count()

    def anew(self, before: bytes) -> None:
        """Another house, with this in ann's mailbox."""
        self.move(os.path.join(self.top, str(next(self.count))))
        self.house.put("ann", before)

    def there(self, before: bytes, others: tuple[bytes, ...], what: object) -> None:
        """After recovery and another try: what was there, what others wrote, and each of ours once; nothing else but line ends."""
        self.recover()
        recovered = self.house.contents("ann")
        for other in others:
            self.assertEqual(recovered.count(other.strip(b"\n")), others.count(other), what)
        self.deliver_what_waits("ann")
        left = self.house.contents("ann")
        self.assertTrue(left.startswith(before), what)
        left = left[len(before) :]
        for queue_id in IDS:
            self.assertEqual(left.count(piece(queue_id)), 1, (what, left))
            left = left.replace(piece(queue_id), b"", 1)
        for other in others:
            left = left.replace(other.strip(b"\n"), b"", 1)
        self.assertEqual(left.strip(b"\n\0"), b"", what)
        self.assertEqual(self.house.leftovers(), [], what)


class KilledTests(CutTestCase):
    """Of what was to be written a part is there, from the start on; then perhaps what others appended."""

    def killed(self, before: bytes, written: int, marked: int, others: tuple[bytes, ...]) -> None:
        self.anew(before)
        numbers = self.begin("ann", *IDS)
        self.house.journal.mark(numbers[:marked]).result()
        self.append("ann", (separation(before[-4:]) + ROUND)[:written] + b"".join(others))
        self.there(before, others, (before, written, marked, others))

    def test_at_many_octets_of_a_round(self) -> None:
        for written in range(0, len(ROUND) + 1, 53):
            self.killed(OLD, written, 0, ())

    @settings(max_examples=50, deadline=None)
    @given(
        st.sampled_from(BEFORE),
        st.integers(0, len(ROUND) + 2),
        st.integers(0, len(IDS)),
        st.lists(st.sampled_from(OTHERS), max_size=2),
    )
    def test_anywhere_and_others_append(self, before: bytes, written: int, marked: int, others: list[bytes]) -> None:
        whole = sum(written >= len(separation(before[-4:])) + len(piece(IDS[0])) * n for n in range(1, len(IDS) + 1))
        self.killed(before, written, min(marked, whole), tuple(others))


class PowerCutTests(CutTestCase):
    """Of what was not synced each sector is there or is NULs, and the file is as long as it likes."""

    @settings(max_examples=70, deadline=None)
    @given(
        st.sampled_from(BEFORE),
        st.sampled_from((16, 64, 512)),
        st.lists(st.booleans(), min_size=80, max_size=80),
        st.one_of(st.none(), st.integers(0, len(ROUND))),
        st.booleans(),
        st.lists(st.sampled_from(OTHERS), max_size=1),
    )
    def test_whatever_is_left(
        self, before: bytes, sector: int, kept: list[bool], length: int | None, marked: bool, others: list[bytes]
    ) -> None:
        self.anew(before)
        self.begin("ann", *IDS, boot=BEFORE_THE_CUT, marked=marked)
        octets = bytearray(separation(before[-4:]) + ROUND)
        for at in range(0, len(octets), sector):
            if not kept[at // sector % len(kept)]:
                octets[at : at + sector] = bytes(len(octets[at : at + sector]))
        # Another program appended, and synced only what is its own; that is not what fsync does, but what else could happen.
        behind = others if length is None else []
        self.append("ann", bytes(octets[:length]) + b"".join(behind))
        self.there(before, tuple(behind), (before, sector, kept, length, marked, behind))

    def test_what_was_lost_whole_with_the_name_of_its_mailbox(self) -> None:
        self.begin("ann", *IDS, boot=BEFORE_THE_CUT, marked=True)
        self.house.put("ann", b"")
        self.there(b"", (), None)
        self.assertEqual(self.kinds(), ["duplicate"] * len(IDS))
        self.assertEqual(self.house.boot, NOW)
