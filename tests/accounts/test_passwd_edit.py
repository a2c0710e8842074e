"""Changing a passwd-file: whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from lanmail.accounts import passwd_edit
from lanmail.accounts.passwd_edit import delete, set_password
from lanmail.accounts.passwd_file import UnsafeFile, read_passwords

ROOT = Path(__file__).resolve().parent.parent.parent


class EditTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()).resolve()
        self.path.mkdir()
        self.file = str(self.path / "passwd")

    def names(self) -> list[str]:
        return list(read_passwords(self.file, {os.geteuid()}).names())

    def is_right(self, name: str, password: str) -> bool:
        wanted = read_passwords(self.file, {os.geteuid()}).hash_of(name)
        return wanted is not None and wanted.matches(password.encode())

    def test_the_first_account_makes_the_file_for_its_owner_alone_whatever_the_umask(self) -> None:
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        self.assertIsNone(set_password(self.file, "julien", "dianaël"))
        self.assertEqual(stat.S_IMODE(os.stat(self.file).st_mode), 0o600)
        self.assertTrue(self.is_right("julien", "dianaël"))
        self.assertEqual(os.listdir(self.path), ["passwd"])

    def test_everything_else_in_the_file_stays(self) -> None:
        set_password(self.file, "nel", "x")
        nel = Path(self.file).read_text()
        Path(self.file).write_bytes(b"# the people of room 4\n\nbad line \xff\n" + nel.encode() + b"# the end")
        self.assertIsNone(set_password(self.file, "julien", "dianaël"))
        self.assertEqual(set_password(self.file, "Nel", "y"), "nel")
        lines = Path(self.file).read_bytes().split(b"\n")
        self.assertEqual(
            lines[:3] + lines[4:5] + lines[6:], [b"# the people of room 4", b"", b"bad line \xff", b"# the end", b""]
        )
        self.assertTrue(self.is_right("nel", "y"))
        self.assertTrue(delete(self.file, "NEL"))
        self.assertFalse(delete(self.file, "nel"))
        self.assertEqual(self.names(), ["julien"])

    def test_the_name_stays_as_the_file_spells_it_since_its_mailbox_is_called_so(self) -> None:
        for first, then in (("bert", "Bert"), ("Diana", "diana")):
            set_password(self.file, first, "x")
            self.assertEqual(set_password(self.file, then, "y"), first)
        self.assertEqual(self.names(), ["bert", "Diana"])
        self.assertTrue(self.is_right("bert", "y"))

    def test_of_two_spellings_the_one_that_counts_stays(self) -> None:
        Path(self.file).write_text("bert:x\nBert:x\n")
        os.chmod(self.file, 0o600)
        set_password(self.file, "nel", "x")
        set_password(self.file, "BERT", "y")
        self.assertEqual(self.names(), ["bert", "nel"])

    def test_what_stood_behind_an_old_hash_goes_with_it(self) -> None:
        set_password(self.file, "julien", "x")
        Path(self.file).write_text(Path(self.file).read_text().rstrip("\n") + ":a note\n")
        set_password(self.file, "julien", "y")
        self.assertNotIn("a note", Path(self.file).read_text())

    def test_impossible_names_and_passwords_are_refused_and_change_nothing(self) -> None:
        for name, password in (
            ("", "x"),
            ("a:b", "x"),
            ("a\nb", "x"),
            ("../x", "x"),
            ("julien", ""),
            ("julien", "x" * 600),
        ):
            self.assertRaises(ValueError, set_password, self.file, name, password)
        self.assertFalse(os.path.exists(self.file))

    def test_a_link_in_its_place_is_not_followed(self) -> None:
        os.symlink("/etc/passwd", self.file)
        self.assertRaises(UnsafeFile, set_password, self.file, "julien", "x")

    def test_a_failed_write_leaves_the_file_as_it_was_and_nothing_beside_it(self) -> None:
        set_password(self.file, "julien", "x")
        before = Path(self.file).read_bytes()

        def full(fd: int) -> None:
            raise OSError(28, "No space left on device")

        self.patch(passwd_edit.os, "fsync", full)
        self.assertRaises(OSError, set_password, self.file, "nel", "x")
        self.assertEqual(Path(self.file).read_bytes(), before)
        self.assertEqual(os.listdir(self.path), ["passwd"])

    def test_the_owner_stays_and_a_new_file_gets_the_one_handed_in(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can give files away")
        set_password(self.file, "julien", "x", owner=(4711, 4712))
        set_password(self.file, "nel", "x", owner=(1, 1))
        facts = os.stat(self.file)
        self.assertEqual((facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode)), (4711, 4712, 0o600))

    def test_writers_at_the_same_time_lose_nothing(self) -> None:
        program = (
            "import sys; from lanmail.accounts import hashes, passwd_edit\n"
            "passwd_edit.hash_password = lambda password: 'hash'\n"
            "for n in range(25): passwd_edit.set_password(sys.argv[1], sys.argv[2] + str(n), 'x')\n"
        )
        command = [sys.executable, "-c", program, self.file]
        writers = [subprocess.Popen([*command, name], cwd=ROOT) for name in ("a", "b", "c")]
        self.assertEqual([writer.wait() for writer in writers], [0, 0, 0])
        lines = Path(self.file).read_text().splitlines()
        self.assertEqual(sorted(lines), sorted(f"{name}{n}:hash" for name in "abc" for n in range(25)))
