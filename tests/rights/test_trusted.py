"""Which files are root's to hand over: those that nobody else could have put there."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from lanmail.rights.trusted import Untrusted, open_trusted
from lanmail.tls.given import signature


def folder_of_root(test: SynchronousTestCase) -> Path:
    """A folder on whose way nobody but root can write, which trial's own below /tmp is not."""
    if os.geteuid() != 0:
        raise SkipTest("only root has folders that are root's alone")
    folder = Path(tempfile.mkdtemp(prefix="lanmail-test-", dir="/var/lib"))
    test.addCleanup(shutil.rmtree, folder)
    return folder


class TrustedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = folder_of_root(self)
        self.file = self.folder / "file"
        self.file.write_text("text")

    def text(self, path: Path | str) -> str:
        with open(open_trusted(str(path)), encoding="ascii") as file:
            return file.read()

    def refused(self, path: Path | str) -> str:
        return str(self.assertRaises(Untrusted, open_trusted, str(path)))

    def test_a_file_in_folders_of_root_s_is_opened_for_reading_alone(self) -> None:
        self.assertEqual(self.text(self.file), "text")
        self.assertEqual(self.text(f"//{self.folder}/./../{self.folder.name}/file"), "text")
        fd = open_trusted(str(self.file))
        self.addCleanup(os.close, fd)
        self.assertRaises(OSError, os.write, fd, b"x")
        self.assertFalse(os.get_inheritable(fd))

    def test_links_are_followed_where_root_has_made_them(self) -> None:
        below = self.folder / "live"
        below.mkdir()
        (below / "relative").symlink_to("../file")
        (below / "absolute").symlink_to(self.file)
        (self.folder / "folder").symlink_to("live")
        for name in ("live/relative", "live/absolute", "folder/relative", "folder/../file"):
            self.assertEqual(self.text(self.folder / name), "text", name)

    def test_certbots_folders_are_followed_through_a_renewal(self) -> None:
        """live/NAME/x.pem is a link to ../../archive/NAME/x1.pem, and both folders are for root alone to enter."""
        for name in ("live", "archive"):
            (self.folder / name / "mail.example").mkdir(parents=True)
            (self.folder / name).chmod(0o700)
        link = self.folder / "live/mail.example/privkey.pem"
        signatures = []
        for number in (1, 2):
            kept = self.folder / f"archive/mail.example/privkey{number}.pem"
            kept.write_text(f"key {number}")
            kept.chmod(0o600)
            link.unlink(missing_ok=True)
            link.symlink_to(f"../../archive/mail.example/{kept.name}")
            self.assertEqual(self.text(link), f"key {number}")
            signatures.append(signature([str(link)], open_trusted))
        self.assertNotEqual(*signatures)
        self.assertEqual(signature([str(link)], open_trusted), signatures[1])

    def test_a_folder_that_others_write_to_leads_nowhere(self) -> None:
        for mode, owner in ((0o777, 0), (0o775, 0), (0o1777, 0), (0o755, 12345)):
            below = self.folder / "below"
            below.mkdir()
            (below / "file").write_text("secret")
            below.chmod(mode)
            os.chown(below, owner, 0)
            self.assertIn("is not root's alone", self.refused(below / "file"), oct(mode))
            shutil.rmtree(below)

    def test_nor_by_a_link_or_through_it_and_back(self) -> None:
        (self.folder / "link").symlink_to("/tmp")
        self.refused(self.folder / "link" / ".." / "etc" / "passwd")
        below = self.folder / "theirs"
        below.mkdir()
        os.chown(below, 12345, 0)
        (below / "secret").symlink_to("/etc/shadow")
        self.refused(below / "secret")
        self.refused(below / ".." / "file")

    def test_what_is_no_file_is_not_opened_and_nobody_waits_for_it(self) -> None:
        os.mkfifo(self.folder / "fifo")
        for path in (self.folder / "fifo", self.folder, "/dev/zero"):
            self.refused(path)

    def test_what_cannot_be_had_is_said_as_open_says_it(self) -> None:
        (self.folder / "loop").symlink_to("loop")
        for path, error in (
            (self.folder / "missing", FileNotFoundError),
            (self.file / "below", NotADirectoryError),
            (self.folder / "loop", OSError),
        ):
            self.assertRaises(error, open_trusted, str(path))
