from __future__ import annotations

import os
import stat

from twisted.trial.unittest import SynchronousTestCase

from lanmail.spool.folder import Folder


class FolderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = os.path.abspath(self.mktemp())

    def test_it_is_made_for_us_alone_and_used_again(self) -> None:
        for _ in range(2):
            folder = Folder(self.path)
            folder.sync_names()
            folder.close()
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o700)

    def test_names_come_in_order(self) -> None:
        folder = Folder(self.path)
        self.addCleanup(folder.close)
        for name in ("B2", "A1", "C3"):
            os.close(os.open(os.path.join(self.path, name), os.O_CREAT))
        self.assertEqual(folder.names(), ["A1", "B2", "C3"])

    def test_it_may_be_closed_twice_and_closes_nobody_elses_descriptor(self) -> None:
        folder = Folder(self.path)
        folder.close()
        theirs = os.open("/dev/null", os.O_RDONLY)
        self.addCleanup(os.close, theirs)
        folder.close()
        os.fstat(theirs)

    def test_a_file_in_its_place_is_an_error(self) -> None:
        with open(self.path, "w"):
            pass
        self.assertRaises(OSError, Folder, self.path)
