"""``lanmail passwd``."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from lanmail.accounts.passwd_file import read_passwords
from lanmail.admin import passwd
from lanmail.admin.passwd import passwd_command

ROOT = Path(__file__).resolve().parent.parent.parent


class PasswdTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        self.folder = folder
        self.file = str(folder / "passwd")

    def run_it(self, *arguments: str, typed: str | bytes | None = None) -> Result:
        return CliRunner().invoke(passwd_command, arguments, input=typed)

    def is_right(self, name: str, password: str) -> bool:
        wanted = read_passwords(self.file, {os.geteuid()}).hash_of(name)
        return wanted is not None and wanted.matches(password.encode())

    def sit_at_a_terminal(self) -> None:
        self.patch(passwd, "_at_a_terminal", lambda: True)  # click's runner gives no terminal

    def test_it_asks_twice_and_shows_nothing(self) -> None:
        self.sit_at_a_terminal()
        result = self.run_it("--file", self.file, "julien", typed="dianaël\ndianaël\n")
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertNotIn("diana", result.output)
        self.assertIn("julien has an account", result.output)
        self.assertTrue(self.is_right("julien", "dianaël"))

    def test_two_different_passwords_are_asked_for_again(self) -> None:
        self.sit_at_a_terminal()
        self.run_it("--file", self.file, "julien", typed="a\nb\nc\nc\n")
        self.assertTrue(self.is_right("julien", "c"))

    def test_without_a_terminal_a_script_is_told_what_to_give(self) -> None:
        command = [sys.executable, "-c", "from lanmail.admin.passwd import passwd_command; passwd_command()"]
        done = subprocess.run([*command, "--file", self.file, "bert"], input=b"x\nx\n", capture_output=True, cwd=ROOT)
        self.assertEqual((done.returncode, done.stdout), (2, b""))
        self.assertTrue(done.stderr.endswith(b"Error: standard input is not a terminal; use --stdin\n"), done.stderr)
        self.assertNotIn(b"Warning", done.stderr)
        self.assertFalse(os.path.exists(self.file))

    def test_an_account_that_is_there_keeps_its_spelling_and_is_told_by_it(self) -> None:
        self.run_it("--file", self.file, "--stdin", "bert", typed="x\n")
        result = self.run_it("--file", self.file, "--stdin", "Bert", typed="y\n")
        self.assertEqual(result.output, f"bert has a new password in {self.file}\n")
        self.assertEqual(self.run_it("--file", self.file, "--list").output, "bert\n")
        self.assertTrue(self.is_right("bert", "y"))

    def test_a_script_gives_one_line(self) -> None:
        result = self.run_it("--file", self.file, "--stdin", "julien", typed="dianaël\r\nnot this\n")
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertTrue(self.is_right("julien", "dianaël"))
        result = self.run_it("--file", self.file, "--stdin", "julien", typed="new")
        self.assertIn("julien has a new password", result.output)

    def test_no_password_and_one_that_is_no_text_are_refused(self) -> None:
        for typed in ("\n", "", b"\xff\n", "x" * 600 + "\n"):
            result = self.run_it("--file", self.file, "--stdin", "julien", typed=typed)
            self.assertEqual(result.exit_code, 1)
            self.assertNotIn("Traceback", result.output)
        self.assertFalse(os.path.exists(self.file))

    def test_names_are_listed_and_deleted(self) -> None:
        for name in ("julien", "nel"):
            self.run_it("--file", self.file, "--stdin", name, typed="x\n")
        self.assertEqual(self.run_it("--file", self.file, "--list").output, "julien\nnel\n")
        self.assertEqual(self.run_it("--file", self.file, "--delete", "Nel").exit_code, 0)
        self.assertEqual(self.run_it("--file", self.file, "--list").output, "julien\n")
        again = self.run_it("--file", self.file, "--delete", "nel")
        self.assertEqual(again.exit_code, 1)
        self.assertIn("has no account nel", again.output)

    def test_an_impossible_call_says_what_is_wanted(self) -> None:
        for arguments in ((), ("--list", "julien"), ("--delete",), ("--stdin", "--delete", "julien"), ("a/b",)):
            result = self.run_it("--file", self.file, *arguments)
            self.assertEqual(result.exit_code, 2, arguments)

    def test_a_file_that_cannot_be_used_is_a_sentence(self) -> None:
        for file in ("/nowhere/passwd", str(self.folder)):
            result = self.run_it("--file", file, "--list")
            self.assertEqual(result.exit_code, 1)
            self.assertIn(file, result.output)
        Path(self.file).write_text("")
        os.chmod(self.file, 0o644)
        self.assertIn("chmod 600", self.run_it("--file", self.file, "--stdin", "julien", typed="x\n").output)


class MainCfTests(SynchronousTestCase):
    """Without --file: the file that main.cf names."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).resolve()
        self.folder.mkdir()
        self.main_cf = self.folder / "main.cf"
        self.file = self.folder / "passwd"

    def run_it(self, accounts: str, *arguments: str) -> Result:
        self.owner = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        self.main_cf.write_text(f"mail_owner = {self.owner.pw_name}\nmyhostname = mail.lan.example\n{accounts}\n")
        return CliRunner().invoke(passwd_command, ["--config", str(self.main_cf), *arguments], input="dianaël\n")

    def test_the_passwd_file_of_main_cf_is_made_and_changed(self) -> None:
        result = self.run_it(f"accounts = passwd-file:{self.file}, system", "--stdin", "julien")
        self.assertEqual(result.exit_code, 0, result.output)
        facts = self.file.stat()
        self.assertEqual((facts.st_uid, facts.st_mode & 0o777), (self.owner.pw_uid, 0o600))

    def test_a_system_users_password_is_not_ours_to_set(self) -> None:
        result = self.run_it("accounts = system", "--stdin", "julien")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("passwd julien", result.output)

    def test_of_several_files_one_must_be_named(self) -> None:
        result = self.run_it(f"accounts = passwd-file:{self.file}, passwd-file:{self.file}-2", "--list")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("--file", result.output)

    def test_a_main_cf_that_is_wrong_or_missing_is_a_sentence(self) -> None:
        result = self.run_it("accounts = ldap", "--list")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("ldap", result.output)
        self.main_cf.unlink()
        result = CliRunner().invoke(passwd_command, ["--config", str(self.main_cf), "--list"])
        self.assertEqual(result.exit_code, 1)
        self.assertIn(str(self.main_cf), result.output)
