from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from lanmail.admin.owner import NotAllowed, become_owner

BECOME = """
import sys
if sys.argv[2:]:
    os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
try:
    become_owner(sys.argv[1])
    print(os.getresuid(), os.getresgid(), os.getgroups())
except NotAllowed as reason:
    print(reason)
"""


# As if Python were root's own, below /root: nothing more of it can be loaded.
READ = """
sys.path[:] = []
sys.path_importer_cache.clear()
print(printable("\\x1b"), canonical_domain("m\\u00e9lanie.lan"))
"""


class OwnerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.mkdir(self.folder, 0o700)

    def test_the_owner_stays_who_they_are(self) -> None:
        before = os.geteuid()
        os.chown(self.folder, before, os.getegid())
        if before != 0:  # root would become root, and stay without its groups for the rest of the tests
            become_owner(self.folder)
        self.assertEqual(os.geteuid(), before)

    def test_what_is_not_there_or_not_a_folder_is_said(self) -> None:
        self.assertIn("has the service run", str(self.assertRaises(NotAllowed, become_owner, self.folder + ".none")))
        os.symlink(self.folder, self.folder + ".link")
        self.assertIn("is not a folder", str(self.assertRaises(NotAllowed, become_owner, self.folder + ".link")))


class AsRootTests(SynchronousTestCase):
    if os.geteuid() != 0:
        skip = "needs root"

    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.mkdir(self.folder, 0o700)
        os.chown(self.folder, 1234, 4321)

    def said(self, *more: str, then: str = "") -> str:
        # The module by its text: whoever it becomes may not be allowed to read where it lies.
        source = Path(sys.modules[become_owner.__module__].__file__ or "").read_text()
        script = f"{source}\n{BECOME}\n{then}"
        done = subprocess.run([sys.executable, "-c", script, self.folder, *more], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def test_root_becomes_the_owner_for_good_and_keeps_no_group(self) -> None:
        self.assertEqual(self.said(), "(1234, 1234, 1234) (4321, 4321, 4321) []")

    def test_what_came_from_outside_can_be_told_with_a_python_that_only_root_may_read(self) -> None:
        self.assertEqual(self.said(then=READ).splitlines()[1:], ["\\x1b xn--mlanie-bva.lan"])

    def test_anybody_else_is_told_who_may(self) -> None:
        self.assertIn("only root may do this", self.said("4321"))  # who may not even look
        parent = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, parent)
        os.chmod(parent, 0o755)
        self.folder = os.path.join(parent, "lanmail")
        os.mkdir(self.folder, 0o700)
        os.chown(self.folder, 1234, 4321)
        self.assertEqual(self.said("4321"), "only root and uid 1234 (mail_owner) may do this")
