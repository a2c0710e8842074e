from __future__ import annotations

import os
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.mailbox.mbox import separation
from lanmail.spool.torn import Piece, piece_at, separations, to_take_out
from tests.spool.crashed import OLD, OTHER, piece

OURS = piece("222CF6745D")


class TornTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        path = self.mktemp()
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT)
        self.addCleanup(os.close, self.fd)

    def look(
        self, before: bytes, octets: bytes, ours: bytes = OURS, *, holes: bool = True, size: int = 37
    ) -> Piece | None:
        """What of ``ours`` is found behind ``before`` in a file that has ``octets`` there."""
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, before + octets, 0)

        def pieces() -> Iterator[bytes]:
            return (ours[at : at + size] for at in range(0, len(ours), size))

        return piece_at(self.fd, len(before), pieces, holes=holes)

    def rest(self, before: bytes, octets: bytes, *, holes: bool = True) -> bytes:
        """The file without what was found to be ours."""
        found = self.look(before, octets, holes=holes)
        left = before + octets
        for start, end in reversed(to_take_out([found] if found else [], len(left))):
            left = left[:start] + left[end:]
        return left


class PieceTests(TornTestCase):
    def test_a_whole_one_is_whole_whatever_follows(self) -> None:
        for before in (b"", OLD, OLD[:-1], OLD[:-2]):
            gap = separation(before[-4:])
            for other in (b"", OTHER, b"\n\n" + OTHER, b"whatever\n"):
                found = self.look(before, gap + OURS + other)
                start = len(before)
                begin = start + len(gap)
                self.assertEqual(found, Piece(start, begin, begin + len(OURS), True), (before, other))

    def test_nothing_is_where_the_file_ends_or_another_message_stands(self) -> None:
        self.assertIsNone(self.look(OLD, b""))
        self.assertIsNone(self.look(OLD, OTHER))
        self.assertIsNone(self.look(OLD, piece("AAAAAAAAAA")))
        self.assertIsNone(self.look(OLD, OURS.replace(b"\n\n>From", b"\nStatus: RO\n\n>From")))
        self.assertIsNone(self.look(OLD, OURS[:200] + b"something else\n"))

    def test_wherever_it_was_torn_the_mailbox_can_be_made_as_it_was(self) -> None:
        for before in (OLD, b"", OLD[:-1], OLD[:-2]):
            ours = separation(before[-4:]) + OURS
            for written in range(len(ours)):
                self.assertEqual(self.rest(before, ours[:written], holes=False), before, (before, written))

    def test_wherever_it_was_torn_what_others_wrote_behind_it_stays(self) -> None:
        others = (
            OTHER,
            b"From ann@lan.example  Mon Nov 23 12:00:01 2026\nX: y\n\n",
            b"\n" + OTHER,
            b"From  Mon Nov 23 12:00:05 2026\n\n",
            OTHER + piece("AAAAAAAAAA"),
        )
        for other in others:
            for before in (OLD, OLD[:-2]):
                ours = separation(before[-4:]) + OURS
                for written in range(len(ours) + 1):
                    left = self.rest(before, ours[:written] + other, holes=False)
                    self.assertTrue(left.startswith(before), (written, other))
                    kept = left[len(before) :]
                    self.assertEqual(kept.strip(b"\n"), other.strip(b"\n"), (written, other, left))

    @settings(max_examples=200, deadline=None)
    @given(st.integers(1, len(OURS)), st.integers(0, len(OURS)), st.integers(0, len(OURS)), st.booleans())
    def test_octets_that_a_power_cut_left_as_nuls_are_ours(
        self, written: int, first: int, count: int, other: bool
    ) -> None:
        behind = OTHER if other else b""
        ours = bytearray(OURS[:written])
        ours[first : first + count] = bytes(len(ours[first : first + count]))
        found = self.look(OLD, bytes(ours) + behind)
        assert found is not None
        self.assertEqual((found.end, found.whole), (len(OLD) + written, bytes(ours) == OURS))
        self.assertEqual(self.rest(OLD, bytes(ours) + behind), OLD + behind)

    def test_behind_octets_that_were_lost_it_is_found_whatever_separation_it_got(self) -> None:
        for lost in (OLD[:-4] + bytes(4), OLD[:-2] + bytes(2), bytes(100)):
            for gap in (b"", b"\n", b"\n\n"):
                self.assertEqual(
                    self.look(lost, gap + OURS), Piece(len(lost), len(lost + gap), len(lost + gap + OURS), True)
                )
                self.assertEqual(self.rest(lost, gap + OURS[:30]), lost)
                self.assertEqual(
                    self.rest(lost, bytes(len(gap + OURS)) + OTHER).replace(b"\0", b""),
                    (lost + OTHER).replace(b"\0", b""),
                )

    def test_without_a_power_cut_nuls_are_somebody_else_s(self) -> None:
        damaged = OURS[:50] + bytes(20) + OURS[70:]
        self.assertIsNone(self.look(OLD, damaged + OTHER, holes=False))

    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=200), st.integers(0, len(OURS)), st.booleans())
    def test_no_octet_goes_that_is_not_like_ours_in_its_place(self, other: bytes, kept: int, holes: bool) -> None:
        octets = OURS[:kept] + other
        found = self.look(OLD, octets, holes=holes)
        if found is not None:
            self.assertGreaterEqual(found.begin, len(OLD))
            taken = octets[: found.end - len(OLD)]
            self.assertTrue(all(a == b or (holes and not a) for a, b in zip(taken, OURS, strict=False)), taken)
            self.assertLessEqual(len(taken), len(OURS))


class TakeOutTests(SynchronousTestCase):
    def test_what_ends_the_file_goes_with_its_separation_and_what_does_not_leaves_it(self) -> None:
        one = Piece(10, 12, 30, False)
        self.assertEqual(to_take_out([one], 30), [(10, 30)])
        self.assertEqual(to_take_out([one], 50), [(12, 30)])
        self.assertEqual((separations([one], 30), separations([one], 50)), ([], [(10, 12)]))

    def test_pieces_that_touch_or_lie_over_each_other_go_as_one(self) -> None:
        pieces = [Piece(30, 30, 50, False), Piece(10, 12, 30, False), Piece(12, 12, 40, False)]
        self.assertEqual(to_take_out(pieces, 50), [(10, 50)])
        self.assertEqual((to_take_out(pieces, 90), separations(pieces, 90)), ([(12, 50)], [(10, 12)]))
        self.assertEqual(to_take_out([], 90), [])

    def test_pieces_apart_stay_apart_and_in_order(self) -> None:
        pieces = [Piece(60, 60, 70, False), Piece(10, 12, 30, False)]
        self.assertEqual(to_take_out(pieces, 70), [(12, 30), (60, 70)])
