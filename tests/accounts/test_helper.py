"""What the guard and its helpers say to each other."""

from __future__ import annotations

import pwd
import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.accounts.helper import NO, TROUBLE, YES, Names, Pam, check_password, frame, parts


class FrameTests(SynchronousTestCase):
    @settings(max_examples=200, deadline=None)
    @given(st.binary(min_size=1, max_size=1), st.lists(st.binary(max_size=300), max_size=6))
    def test_what_is_written_is_what_is_read(self, kind: bytes, fields: list[bytes]) -> None:
        octets = frame(kind, *fields)
        self.assertEqual(struct.unpack("!I", octets[:4])[0], len(octets) - 4)
        self.assertEqual(parts(octets[4:]), (kind, fields))

    @settings(max_examples=300, deadline=None)
    @given(st.binary(max_size=200))
    def test_noise_is_a_frame_or_a_value_error(self, noise: bytes) -> None:
        try:
            kind, fields = parts(noise)
        except ValueError:
            return
        self.assertEqual(frame(kind, *fields)[4:], noise)

    def test_a_field_that_does_not_fit_is_refused(self) -> None:
        self.assertRaises(ValueError, frame, YES, b"x" * 65536)


class NamesTests(SynchronousTestCase):
    def test_the_c_library_says_what_pwd_says(self) -> None:
        names = Names()
        for entry in pwd.getpwall()[:20]:
            kind, (name, uid, gid, home) = parts(names.find(entry.pw_name.encode())[4:])
            self.assertEqual(kind, YES)
            self.assertEqual(
                (name.decode(), int(uid), int(gid), home.decode()),
                (entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir),
            )

    def test_who_is_not_there_is_not_there(self) -> None:
        self.assertEqual(parts(Names().find(b"nobody-of-that-name")[4:]), (NO, []))

    def _answering(self, *codes: int) -> Names:
        names = Names()
        left = list(codes)
        names._find = lambda *_: left.pop(0)
        return names

    def test_a_service_that_failed_is_trouble_and_not_a_no(self) -> None:
        for code in (5, 111):  # EIO, ECONNREFUSED
            kind, (sentence,) = parts(self._answering(code).find(b"julien")[4:])
            self.assertEqual(kind, TROUBLE)
            self.assertIn(b"the name service cannot say", sentence)

    def test_the_ways_to_say_not_found_are_a_no(self) -> None:
        for code in (0, 2, 3, 9, 1):
            self.assertEqual(parts(self._answering(code).find(b"julien")[4:]), (NO, []))

    def test_an_entry_that_needs_more_room_gets_it(self) -> None:
        self.assertEqual(parts(self._answering(34, 34, 0).find(b"julien")[4:]), (NO, []))  # ERANGE


class CheckPasswordTests(SynchronousTestCase):
    class _Saying(Pam):
        def __init__(self, code: int) -> None:
            self._code = code

        def code(self, name: bytes, password: bytes, host: bytes) -> int:
            return self._code

    def answer(self, code: int, name: bytes = b"julien", password: bytes = b"secret") -> tuple[bytes, list[bytes]]:
        return parts(check_password(self._Saying(code), [name, password, b"192.168.1.5"])[4:])

    def test_only_success_is_yes(self) -> None:
        self.assertEqual(self.answer(0), (YES, []))
        for code in range(1, 40):
            self.assertNotEqual(self.answer(code)[0], YES)

    def test_what_is_not_the_clients_fault_is_trouble(self) -> None:
        for code in (3, 4, 9, 28):
            self.assertEqual(self.answer(code)[0], TROUBLE)
        for code in (6, 7, 10, 11, 12, 13, 27):
            self.assertEqual(self.answer(code), (NO, [b"%d" % code]))

    def test_a_nul_or_no_password_never_reaches_pam(self) -> None:
        for name, password in ((b"julien\0", b"x"), (b"julien", b"x\0y"), (b"julien", b"")):
            self.assertEqual(self.answer(0, name, password)[0], NO)
