from __future__ import annotations

import os
import sqlite3
import stat

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from lanmail.spool.database import JournalTrouble, connect, connect_to_read, try_the_disk
from lanmail.spool.schema import APPLICATION_ID, MIGRATIONS, migrate
from tests.spool.journals import JournalTestCase


class DatabaseCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.mkdir(self.folder)
        self.path = os.path.join(self.folder, "journal-0")

    def made(self) -> sqlite3.Connection:
        db = connect(self.path)
        self.addCleanup(db.close)
        return db

    def why_not(self) -> str:
        trouble = self.assertRaises(JournalTrouble, connect, self.path)
        self.assertIn(self.path, str(trouble))
        return str(trouble)

    def write(self, content: bytes) -> None:
        with open(self.path, "wb") as file:
            file.write(content)


class MakingTests(DatabaseCase):
    def test_it_is_for_us_alone_whatever_the_umask_says(self) -> None:
        before = os.umask(0)
        try:
            self.made().execute("UPDATE journal SET clock = 1.0")
        finally:
            os.umask(before)
        for name in ("journal-0", "journal-0-wal", "journal-0-shm"):
            self.assertEqual(stat.S_IMODE(os.stat(os.path.join(self.folder, name)).st_mode), 0o600, name)

    def test_one_that_was_open_to_others_is_closed_to_them(self) -> None:
        self.made().close()
        os.chmod(self.path, 0o664)
        self.made()
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)

    def test_made_by_root_it_belongs_to_the_owner_of_its_folder(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root gives files away")
        os.chown(self.folder, 12345, 54321)
        self.made().execute("UPDATE journal SET clock = 1.0")
        for name in ("journal-0", "journal-0-wal", "journal-0-shm"):
            found = os.stat(os.path.join(self.folder, name))
            self.assertEqual((found.st_uid, found.st_gid), (12345, 54321), name)

    def test_it_is_as_it_should_be_from_the_first_page_on(self) -> None:
        db = self.made()
        for pragma, value in (
            ("journal_mode", "wal"),
            ("auto_vacuum", 2),
            ("synchronous", 2),
            ("wal_autocheckpoint", 0),
            ("application_id", APPLICATION_ID),
            ("user_version", len(MIGRATIONS)),
        ):
            self.assertEqual(db.execute(f"PRAGMA {pragma}").fetchone(), (value,), pragma)

    def test_a_start_that_was_killed_while_it_made_the_file_is_followed_by_one_that_makes_it(self) -> None:
        self.write(b"")
        self.made().execute("SELECT serial FROM journal")

    def test_names_with_signs_that_mean_something_in_an_address_are_names(self) -> None:
        folder = os.path.join(self.folder, "a?mode=rw#%41 b")
        os.mkdir(folder)
        self.path = os.path.join(folder, "journal-0")
        self.made()
        connect_to_read(self.path).close()


class RefusedTests(DatabaseCase):
    def test_a_link_is_not_followed(self) -> None:
        os.symlink(os.path.join(self.folder, "elsewhere"), self.path)
        self.why_not()
        self.assertEqual(os.listdir(self.folder), ["journal-0"])

    def test_a_second_name_a_fifo_and_a_folder_are_refused(self) -> None:
        self.made().close()
        os.link(self.path, self.path + "-second")
        self.assertIn("not a file of its own", self.why_not())
        os.unlink(self.path)
        os.mkfifo(self.path)
        self.why_not()
        os.unlink(self.path)
        os.mkdir(self.path)
        self.assertIn("Is a directory", self.why_not())

    def test_a_log_that_is_a_link_is_refused(self) -> None:
        os.symlink("/etc/passwd", self.path + "-wal")
        self.assertIn("-wal is not a file of its own", str(self.assertRaises(JournalTrouble, connect, self.path)))

    def test_the_disk_is_not_tried_on_somebody_s_link_or_fifo(self) -> None:
        precious, probe = os.path.join(self.folder, "precious"), self.path + "-probe"
        with open(precious, "w") as file:
            file.write("root's")
        for put in (lambda: os.link(precious, probe), lambda: os.symlink(precious, probe), lambda: os.mkfifo(probe)):
            put()
            try_the_disk(self.path)
        with open(precious) as file:
            self.assertEqual(file.read(), "root's")
        self.assertEqual(os.listdir(self.folder), ["precious"])

    def test_somebody_elses_file_is_refused(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root gives files away")
        self.made().close()
        os.chown(self.path, 12345, 54321)
        self.assertIn("belongs to uid 12345", self.why_not())

    def test_a_later_lanmails_journal_is_refused_and_left_as_it_is(self) -> None:
        db = self.made()
        db.execute("PRAGMA user_version = 99")
        db.close()
        self.assertIn("a later lanmail has written it (version 99", self.why_not())
        with sqlite3.connect(self.path) as left:
            self.assertEqual(left.execute("PRAGMA user_version").fetchone(), (99,))
        left.close()

    def test_another_programs_database_is_refused_and_left_as_it_is(self) -> None:
        with sqlite3.connect(self.path) as other:
            other.execute("CREATE TABLE theirs (a)")
        other.close()
        self.assertIn("another program's database", self.why_not())
        with sqlite3.connect(self.path) as other:
            self.assertEqual(other.execute("SELECT name FROM sqlite_master").fetchall(), [("theirs",)])
        other.close()

    def test_what_is_no_database_is_refused_with_what_to_do(self) -> None:
        self.write(b"From julien  Tue Nov 24 21:36:34 2026\n" * 500)
        why = self.why_not()
        self.assertIn("is damaged (file is not a database)", why)
        self.assertIn("keep journal-0, journal-0-wal and journal-0-shm", why)

    def test_a_folder_that_is_not_there_is_named(self) -> None:
        self.path = os.path.join(self.folder, "missing", "journal-0")
        self.assertIn("No such file or directory", self.why_not())


class DamagedTests(JournalTestCase):
    def test_damage_is_found_at_the_start_and_named_with_what_to_do(self) -> None:
        for number in range(200):
            self.admit(number)
        self.journal.close()
        with open(self.path, "r+b") as file:
            file.seek(4096 * 5)
            file.write(b"\xa5" * 4096 * 10)
        trouble = self.assertRaises(JournalTrouble, self.opened)
        self.assertIn(f"{self.path} is damaged", str(trouble))
        self.assertIn("start again", str(trouble))


class MigrationTests(DatabaseCase):
    def migrated(self, *scripts: str) -> tuple[int, list[str]]:
        db = sqlite3.connect(self.path, isolation_level=None)
        try:
            migrate(db, scripts)
            (version,) = db.execute("PRAGMA user_version").fetchone()
            return version, [name for (name,) in db.execute("SELECT name FROM sqlite_master ORDER BY name")]
        finally:
            db.close()

    def test_a_file_goes_through_every_step_that_it_has_not_seen(self) -> None:
        first, second, third = (f"CREATE TABLE t{n} (a);" for n in range(3))
        self.assertEqual(self.migrated(first), (1, ["t0"]))
        self.assertEqual(self.migrated(first, second, third), (3, ["t0", "t1", "t2"]))
        self.assertEqual(self.migrated(first, second, third), (3, ["t0", "t1", "t2"]))

    def test_a_step_that_fails_has_not_begun(self) -> None:
        first = "CREATE TABLE t0 (a);"
        self.migrated(first)
        self.assertRaises(sqlite3.Error, self.migrated, first, "CREATE TABLE t1 (a); CREATE TABLE t0 (a);")
        self.assertEqual(self.migrated(first), (1, ["t0"]))
