from __future__ import annotations

import errno
import os
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from lanmail.spool import ground
from lanmail.spool.ground import doubts


class KindTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = os.path.realpath(self.mktemp())
        os.makedirs(self.folder)

    def mounts(self, *mounts: tuple[str, str]) -> str:
        path = self.mktemp()
        with open(path, "w", encoding="utf-8") as file:
            for number, (place, kind) in enumerate(mounts):
                # An optional field, and none, before the hyphen: both are allowed.
                optional = " shared:1" if number % 2 else ""
                file.write(f"{number} 1 0:{number} / {place} rw,relatime{optional} - {kind} nothing rw\n")
        return path

    def test_a_local_disk_is_good_ground(self) -> None:
        for kind in ("ext4", "xfs", "btrfs", "zfs", "overlay"):
            self.assertEqual(doubts(self.folder, self.mounts(("/", kind))), [])

    def test_memory_is_named_as_what_a_power_cut_takes(self) -> None:
        (doubt,) = doubts(self.folder, self.mounts(("/", "ext4"), (self.folder, "tmpfs")))
        self.assertIn(self.folder, doubt)
        self.assertIn("(tmpfs)", doubt)
        self.assertIn("when the power fails", doubt)

    def test_what_belongs_to_another_machine_or_program_is_named(self) -> None:
        for kind in ("nfs", "nfs4", "cifs", "9p", "fuse.sshfs", "fuse", "virtiofs"):
            (doubt,) = doubts(self.folder, self.mounts(("/", kind)))
            self.assertIn(f"({kind})", doubt)

    def test_a_file_system_without_owners_is_named(self) -> None:
        (doubt,) = doubts(self.folder, self.mounts(("/", "vfat")))
        self.assertIn("owners", doubt)

    def test_the_longest_mount_point_counts_and_of_two_on_one_place_the_later(self) -> None:
        deep = os.path.join(self.folder, "queue")
        self.assertEqual(doubts(deep, self.mounts((self.folder, "ext4"), ("/", "tmpfs"))), [])
        self.assertEqual(len(doubts(deep, self.mounts((self.folder, "ext4"), (self.folder, "tmpfs")))), 1)
        self.assertEqual(doubts(deep, self.mounts((self.folder, "tmpfs"), (self.folder, "ext4"))), [])

    def test_a_mount_point_is_a_folder_and_not_the_start_of_a_name(self) -> None:
        self.assertEqual(doubts(self.folder, self.mounts(("/", "ext4"), (self.folder[:-1], "tmpfs"))), [])

    def test_spaces_in_the_name_of_a_mount_point_are_understood(self) -> None:
        folder = os.path.join(self.folder, "a b")
        os.mkdir(folder)
        self.assertEqual(len(doubts(folder, self.mounts(("/", "ext4"), (folder.replace(" ", "\\040"), "tmpfs")))), 1)

    def test_a_link_is_judged_by_where_it_leads(self) -> None:
        link = self.folder + "-link"
        os.symlink(self.folder, link)
        self.assertEqual(len(doubts(link, self.mounts(("/", "ext4"), (self.folder, "tmpfs")))), 1)

    def test_without_mountinfo_what_can_be_tried_is_tried(self) -> None:
        self.assertEqual(doubts(self.folder, "/nonexistent"), [])

    def test_lines_that_nobody_understands_are_passed_over(self) -> None:
        path = self.mktemp()
        with open(path, "w", encoding="utf-8") as file:
            file.write("\nnonsense\n1 2 - \n1 1 0:1 / / rw - tmpfs x rw\n")
        self.assertEqual(len(doubts(self.folder, path)), 1)

    def test_the_memory_of_this_machine_is_seen_as_such(self) -> None:
        if not os.path.isdir("/dev/shm") or not os.access("/dev/shm", os.W_OK):
            raise SkipTest("/dev/shm is not there")
        self.assertIn("in memory", "".join(doubts("/dev/shm")))


class TriedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.makedirs(self.folder)

    def doubts(self) -> list[str]:
        found = doubts(self.folder, "/nonexistent")
        self.assertEqual(os.listdir(self.folder), [])
        return found

    def test_a_flush_that_fails_is_told_with_its_reason(self) -> None:
        def fsync(fd: int) -> None:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

        self.patch(ground.os, "fsync", fsync)
        (doubt,) = self.doubts()
        self.assertIn("fsync", doubt)
        self.assertIn("Invalid argument", doubt)

    def test_locks_that_lock_nobody_out_are_told(self) -> None:
        def lock(fd: int, path: str, **kinds: Any) -> None:
            pass

        self.patch(ground, "lock_kernel", lock)
        doubts = self.doubts()
        self.assertEqual(len(doubts), 2)
        self.assertTrue(all("two can have the same one" in doubt for doubt in doubts), doubts)

    def test_locks_that_are_not_there_are_told(self) -> None:
        def lock(fd: int, path: str, **kinds: Any) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        self.patch(ground, "lock_kernel", lock)
        self.assertTrue(all("No locks available" in doubt for doubt in self.doubts()))

    def test_a_folder_that_is_not_there_or_not_ours_is_somebody_elses_sentence(self) -> None:
        self.assertEqual(doubts(os.path.join(self.folder, "missing"), "/nonexistent"), [])
        self.assertEqual(doubts("/proc/self", "/nonexistent"), [])
