"""Accounts kept in a file of our own."""

from __future__ import annotations

import os
from unittest.mock import patch

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lanmail.accounts.hashes import NOBODYS, PasswordHash, hash_password
from lanmail.accounts.passwd_file import PasswdFile, UnsafeFile, read_passwords
from lanmail.files import open_no_link
from lanmail.interfaces import User
from lanmail.network import Peer
from lanmail.status import TemporaryFailure
from tests.accounts.fakes import RememberingReport, at_once, begin, cheap

PEER = Peer("192.168.1.5")


class ReadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = self.mktemp()
        self.write(f"julien:{cheap('dianaël')}\n")

    def write(self, text: str) -> None:
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(fd, "w") as file:
            file.write(text)

    def refusal(self, owners: set[int] | None = None) -> str:
        return str(self.assertRaises(UnsafeFile, read_passwords, self.path, owners or {os.geteuid()}))

    def test_a_file_that_others_can_read_or_write_is_refused(self) -> None:
        for mode in (0o640, 0o604, 0o620, 0o602, 0o644, 0o666):
            os.chmod(self.path, mode)
            self.assertIn("chmod 600", self.refusal())
        os.chmod(self.path, 0o400)
        read_passwords(self.path, {os.geteuid()})

    def test_a_file_of_somebody_elses_is_refused(self) -> None:
        self.assertIn("belongs to uid", self.refusal({os.geteuid() + 1}))

    def test_what_is_not_a_file_is_refused(self) -> None:
        os.rename(self.path, f"{self.path}-file")
        os.symlink(os.path.abspath(f"{self.path}-file"), self.path)
        self.assertIn("symbolic link", self.refusal())
        os.unlink(self.path)
        os.mkfifo(self.path, 0o600)
        self.assertIn("not a regular file", self.refusal())  # and nobody waits for its other end
        os.unlink(self.path)
        os.mkdir(self.path, 0o700)
        self.assertIn("not a regular file", self.refusal())

    def test_a_file_that_did_not_change_is_not_read_again(self) -> None:
        first = read_passwords(self.path, {os.geteuid()})
        self.assertIs(read_passwords(self.path, {os.geteuid()}, first), first)
        self.write("# nobody\n")
        self.assertEqual(read_passwords(self.path, {os.geteuid()}, first).lines, {})

    def test_whoever_opened_the_file_its_owner_and_mode_are_judged_from_what_was_opened(self) -> None:
        handed = f"{self.path}-handed"
        os.rename(self.path, handed)
        guard = lambda _: os.open(handed, os.O_RDONLY)  # noqa: E731
        self.assertEqual(len(read_passwords(self.path, {os.geteuid()}, opened=guard).lines), 1)
        with self.assertRaises(UnsafeFile) as caught:
            read_passwords(self.path, {os.geteuid() + 1}, opened=guard)
        self.assertIn("belongs to uid", str(caught.exception))
        os.chmod(handed, 0o640)
        with self.assertRaises(UnsafeFile) as caught:
            read_passwords(self.path, {os.geteuid()}, opened=guard)
        self.assertIn("chmod 600", str(caught.exception))

    def test_no_descriptor_is_left_open(self) -> None:
        before = os.listdir("/proc/self/fd")
        for _ in range(20):
            read_passwords(self.path, {os.geteuid()})
        os.chmod(self.path, 0o666)
        for _ in range(20):
            self.refusal()
        self.assertEqual(len(os.listdir("/proc/self/fd")), len(before))


class PasswdFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.report = RememberingReport()
        self.path = self.mktemp()
        self.write(f"julien:{cheap('dianaël')}\nMixed:{cheap('x')}\n")
        self.accounts = PasswdFile(self.path, 990, 991, at_once, self.clock, self.report)

    def write(self, text: str) -> None:
        with open(f"{self.path}.new", "w") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text)
        os.rename(f"{self.path}.new", self.path)

    def found(self, name: str) -> User | None:
        return self.successResultOf(begin(self.accounts.find(name)))

    def right(self, user: User | None, password: str) -> bool:
        return self.successResultOf(begin(self.accounts.verify(user, password.encode(), PEER)))

    def test_everybody_in_it_has_a_mailbox_of_the_owner_handed_in(self) -> None:
        self.assertEqual(self.found("julien"), User("julien", 990, 991))

    def test_the_case_of_a_name_does_not_count_and_the_files_spelling_does(self) -> None:
        self.assertEqual(self.found("JULIEN"), User("julien", 990, 991))
        self.assertEqual(self.found("mixed"), User("Mixed", 990, 991))
        self.assertIsNone(self.found("nobody"))
        self.assertIsNone(self.found("../julien"))

    def test_a_password_is_right_or_wrong(self) -> None:
        julien = self.found("julien")
        self.assertTrue(self.right(julien, "dianaël"))
        self.assertFalse(self.right(julien, "dianael"))
        self.assertFalse(self.right(julien, ""))

    def test_an_unknown_name_is_compared_with_nobodys_hash(self) -> None:
        with patch.object(PasswordHash, "matches", autospec=True, return_value=False) as matches:
            self.assertFalse(self.right(None, "x"))
            self.assertFalse(self.right(User("gone", 990, 991), "x"))
        self.assertEqual([call.args[0] for call in matches.call_args_list], [NOBODYS, NOBODYS])

    def test_nobody_has_no_password(self) -> None:
        self.assertFalse(self.right(None, ""))
        self.assertFalse(self.right(None, "x"))

    def test_a_change_is_seen_within_a_second(self) -> None:
        julien = self.found("julien")
        self.write(f"julien:{cheap('new')}\nnel:{cheap('x')}\n")
        self.clock.advance(1)
        self.assertFalse(self.right(julien, "dianaël"))
        self.assertTrue(self.right(julien, "new"))
        self.assertIsNotNone(self.found("nel"))

    def test_bad_lines_are_reported_once_for_each_change(self) -> None:
        self.write(f"julien:{cheap('x')}\nbad\n")
        for _ in range(3):
            self.assertIsNotNone(self.found("julien"))
            self.clock.advance(1)
        self.assertEqual(len(self.report.lines), 1)
        self.assertIn(f"{self.path}:2", self.report.lines[0])

    def test_a_file_that_cannot_be_used_means_later_and_is_reported_once(self) -> None:
        os.chmod(self.path, 0o644)
        for _ in range(3):
            failure = self.failureResultOf(begin(self.accounts.find("julien")), TemporaryFailure)
            self.assertEqual(failure.value.status.code, 451)
            self.clock.advance(1)
        self.assertEqual(len(self.report.lines), 1)
        self.assertIn("chmod 600", self.accounts.unusable() or "")
        os.chmod(self.path, 0o600)
        self.assertIsNotNone(self.found("julien"))
        self.assertIsNone(self.accounts.unusable())
        os.unlink(self.path)
        self.clock.advance(1)
        self.failureResultOf(begin(self.accounts.find("julien")), TemporaryFailure)
        self.assertIn("No such file", self.accounts.unusable() or "")

    def test_the_file_is_opened_by_whoever_is_handed_in_at_the_start_and_for_every_look(self) -> None:
        opened: list[str] = []

        def guard(path: str) -> int:
            opened.append(path)
            return open_no_link(self.path)

        self.accounts = PasswdFile("/root/passwd", 990, 991, at_once, self.clock, self.report, opened=guard)
        self.assertIsNone(self.accounts.unusable())
        julien = self.found("julien")
        self.assertTrue(self.right(julien, "dianaël"))
        self.assertEqual(opened, ["/root/passwd"] * 3)

    def test_few_hashes_at_once_and_not_without_end(self) -> None:
        working: list[Deferred[bool]] = []

        def in_thread(work, *arguments):
            if getattr(work, "__name__", "") != "matches":
                return at_once(work, *arguments)
            working.append(Deferred())
            return working[-1]

        accounts = PasswdFile(self.path, 990, 991, in_thread, self.clock, self.report, at_once=2, waiting=5)
        logins = [begin(accounts.verify(None, b"x", PEER)) for _ in range(9)]
        self.assertEqual(len(working), 2)
        for login in logins[7:]:
            self.assertEqual(self.failureResultOf(login, TemporaryFailure).value.status.code, 454)
        for n in range(7):
            working[n].callback(False)
        self.assertEqual([self.successResultOf(login) for login in logins[:7]], [False] * 7)

    def test_a_password_that_was_changed_holds_from_the_next_login_on(self) -> None:
        self.write(f"julien:{hash_password('old')}\n")
        user = self.found("julien")
        self.assertTrue(self.right(user, "old"))
        self.write(f"julien:{hash_password('new')}\n")
        self.assertFalse(self.right(user, "old"))
        self.assertTrue(self.right(user, "new"))

    def test_the_logins_of_addresses_take_turns(self) -> None:
        hashing: list[tuple[bytes, Deferred[bool]]] = []

        def in_thread(work, *arguments):
            if getattr(work, "__name__", "") != "matches":
                return at_once(work, *arguments)
            hashing.append((arguments[0], Deferred()))
            return hashing[-1][1]

        accounts = PasswdFile(self.path, 990, 991, in_thread, self.clock, self.report, at_once=1, waiting=6)
        flood = [begin(accounts.verify(None, b"guess", Peer("192.168.1.66"))) for _ in range(7)]
        other = begin(accounts.verify(None, b"right", PEER))
        hashing[0][1].callback(False)
        hashing[1][1].callback(False)
        self.assertEqual([password for password, _ in hashing], [b"guess", b"guess", b"right"])
        hashing[2][1].callback(True)
        self.assertTrue(self.successResultOf(other))
        self.failureResultOf(flood[-1], TemporaryFailure)  # which made room for the other
        for n in range(3, 7):
            hashing[n][1].callback(False)
        self.assertEqual([self.successResultOf(login) for login in flood[:6]], [False] * 6)

    def test_what_hash_password_writes_lets_in(self) -> None:
        self.write(f"julien:{hash_password('dianaël')}\n")
        self.assertTrue(self.right(self.found("julien"), "dianaël"))
