"""Whether Python can load anything when root is given up."""

from __future__ import annotations

import os
import shutil
import sysconfig
import tempfile

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from lanmail.rights import loading


class LoadingTests(SynchronousTestCase):
    def at(self, path: str) -> None:
        self.patch(sysconfig, "get_path", lambda _: path)

    def test_a_library_that_everybody_can_read_is_no_trouble(self) -> None:
        self.at("/etc")
        self.patch(loading, "__file__", "/usr/lib/x.py")
        self.assertIsNone(loading.unreadable(64001, 64002))

    def test_one_below_a_folder_of_root_s_own_is_said(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root has folders of root's")
        folder = tempfile.mkdtemp(prefix="lanmail-loading-")
        self.addCleanup(shutil.rmtree, folder)
        os.mkdir(f"{folder}/lib")
        self.patch(loading, "__file__", "/usr/lib/x.py")
        self.at(f"{folder}/lib")
        for mode, owner, group, found in (
            (0o700, 0, 0, f"{folder}/lib"),
            (0o755, 0, 0, None),
            (0o750, 0, 64002, None),
            (0o700, 64001, 0, None),
            (0o077, 64001, 0, f"{folder}/lib"),
        ):
            os.chmod(folder, mode)
            os.chown(folder, owner, group)
            self.assertEqual(loading.unreadable(64001, 64002), found, (oct(mode), owner, group))

    def test_a_library_that_is_not_there_is_not_readable(self) -> None:
        self.at("/nowhere/lib")
        self.assertEqual(loading.unreadable(64001, 64002), "/nowhere/lib")

    def test_what_is_loaded_now_can_be_loaded(self) -> None:
        loading.load_now()
