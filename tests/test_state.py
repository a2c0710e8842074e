"""Twin of lanmail/state.py."""

from __future__ import annotations

import os
import stat

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from lanmail.state import StateFolder, StateTrouble


class StateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.queue = os.path.abspath(self.mktemp())
        self.uid, self.gid = os.geteuid(), os.getegid()

    def make(self) -> StateFolder:
        state = StateFolder(self.queue, self.uid, self.gid)
        self.addCleanup(state.release)
        return state

    def test_the_folder_is_ours_alone_whatever_the_umask(self) -> None:
        old = os.umask(0o277)
        try:
            os.makedirs(self.queue, mode=0o755, exist_ok=True)
            os.chmod(self.queue, 0o755)
            path = self.make().folder("incoming")
        finally:
            os.umask(old)
        for folder in (path, os.path.dirname(path)):
            self.assertEqual(stat.S_IMODE(os.stat(folder).st_mode), 0o700)

    def test_the_names_of_all_folders_are_synced_since_a_power_cut_would_take_what_is_in_them(self) -> None:
        synced: list[int] = []
        real = os.fsync
        self.patch(os, "fsync", lambda fd: (synced.append(os.fstat(fd).st_ino), real(fd)))
        for _ in range(2):  # made, and found: whoever made them may not have come to it
            synced.clear()
            state = StateFolder(self.queue, self.uid, self.gid)
            state.folder("incoming")
            state.release()
            above = (os.path.dirname(self.queue), self.queue, os.path.join(self.queue, "lanmail"))
            self.assertEqual(synced, [os.stat(folder).st_ino for folder in above])

    def test_a_postfix_queue_in_the_same_folder_stays_as_it_was(self) -> None:
        os.makedirs(os.path.join(self.queue, "active"), mode=0o700)
        os.chmod(self.queue, 0o750)
        self.make()
        self.assertEqual(stat.S_IMODE(os.stat(self.queue).st_mode), 0o750)
        self.assertEqual(sorted(os.listdir(self.queue)), ["active", "lanmail"])

    def test_a_second_instance_is_refused_and_told_the_first_ones_pid(self) -> None:
        self.make().sign()
        error = self.assertRaises(StateTrouble, StateFolder, self.queue, self.uid, self.gid)
        self.assertEqual(
            str(error),
            f"another lanmail (pid {os.getpid()}) is running on {self.queue}/lanmail; stop it with: kill {os.getpid()}",
        )

    def test_after_release_the_next_one_may_start(self) -> None:
        StateFolder(self.queue, self.uid, self.gid).release()
        self.make()

    def test_the_owner_may_take_the_lock_that_root_has_made(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can give a file away")
        StateFolder(self.queue, 4242, 8).release()
        found = os.stat(os.path.join(self.queue, "lanmail", "lock"))
        self.assertEqual((found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)), (4242, 8, 0o600))

    def test_a_link_in_its_place_is_not_followed(self) -> None:
        os.makedirs(self.queue)
        elsewhere = os.path.abspath(self.mktemp())
        os.mkdir(elsewhere)
        os.symlink(elsewhere, os.path.join(self.queue, "lanmail"))
        self.assertRaises(StateTrouble, StateFolder, self.queue, self.uid, self.gid)
        self.assertEqual(os.listdir(elsewhere), [])

    def test_a_lock_that_is_a_link_is_neither_written_nor_given_away(self) -> None:
        StateFolder(self.queue, self.uid, self.gid).release()
        lock, precious = os.path.join(self.queue, "lanmail", "lock"), os.path.abspath(self.mktemp())
        with open(precious, "w", encoding="ascii") as file:
            file.write("root's")
        os.unlink(lock)
        os.link(precious, lock)
        error = self.assertRaises(StateTrouble, StateFolder, self.queue, self.uid, self.gid)
        self.assertIn(f"{lock} is not a file of its own", str(error))
        os.unlink(lock)
        os.mkfifo(lock)
        self.assertRaises(StateTrouble, StateFolder, self.queue, self.uid, self.gid)

    def test_somebody_elses_folder_is_refused(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can give a folder away")
        os.makedirs(os.path.join(self.queue, "lanmail"))
        os.chown(os.path.join(self.queue, "lanmail"), 4242, 4242)
        error = self.assertRaises(StateTrouble, StateFolder, self.queue, self.uid, self.gid)
        self.assertIn("belongs to uid 4242", str(error))

    def test_a_file_in_the_place_of_a_folder_is_a_sentence(self) -> None:
        state = self.make()
        with open(os.path.join(state.path, "intents"), "w", encoding="ascii"):
            pass
        error = self.assertRaises(StateTrouble, state.folder, "intents")
        self.assertEqual(str(error), f"{state.path}/intents: Not a directory (queue_directory)")
