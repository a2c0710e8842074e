"""Whether a file has changed."""

from __future__ import annotations

import os
import time
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from lanmail.accounts.watched import ACCOUNTS, FOLDERS, SETTLES, State, Watched


class WatchedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        (self.folder / "pam.d").mkdir(parents=True)
        (self.folder / "pam.d" / "lanmail").write_text("auth required pam_unix.so\n")
        (self.folder / "elsewhere").write_text("x")
        (self.folder / "pam.d" / "linked").symlink_to("../elsewhere")
        (self.folder / "shadow").write_text("julien:x:1\n")
        self.watched = Watched([str(self.folder / "shadow")], [str(self.folder / "pam.d")])

    def changes(self) -> bool:
        """Since it was asked last."""
        before, self.last = getattr(self, "last", None), self.watched.state()
        return before is not None and before != self.last

    def test_every_way_in_which_a_file_changes_is_seen(self) -> None:
        shadow, pam = self.folder / "shadow", self.folder / "pam.d"
        self.assertFalse(self.changes())
        self.assertFalse(self.changes())
        new = self.folder / "new"
        for change in (
            lambda: shadow.write_text("julien:x:2 \n"),
            lambda: (new.write_text("julien:x:2 \n"), new.rename(shadow)),  # as passwd(1) does
            lambda: shadow.chmod(0o600),
            lambda: shadow.unlink(),
            lambda: shadow.write_text(""),
            lambda: (pam / "other").write_text(""),
            lambda: (pam / "other").unlink(),
            lambda: (pam / "lanmail").write_text("auth required pam_deny.so \n"),
            lambda: (self.folder / "elsewhere").write_text("yy"),
            lambda: pam.rename(self.folder / "pam.old"),
        ):
            change()
            self.assertTrue(self.changes())
            self.assertFalse(self.changes())

    def test_a_time_that_was_set_back_does_not_hide_a_change(self) -> None:
        shadow = self.folder / "shadow"
        before = self.watched.state()
        facts = shadow.stat()
        time.sleep(0.02)  # more than a tick of the kernel's
        shadow.write_text("julien:y:1\n")
        os.utime(shadow, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        self.assertNotEqual(self.watched.state(), before)

    def test_what_cannot_be_looked_at_is_no_state(self) -> None:
        if os.geteuid() == 0:
            self.patch(os, "stat", _forbidden)
        else:
            self.folder.chmod(0o000)
            self.addCleanup(self.folder.chmod, 0o700)
        self.assertRaises(PermissionError, self.watched.state)

    def test_a_state_is_settled_unless_a_change_is_just_now(self) -> None:
        state = State((), 1000.0)
        self.assertEqual(
            [state.is_settled(1000.0 + late) for late in (-SETTLES - 1, -1, 0, 1, SETTLES + 1)],
            [True, False, False, False, True],
        )
        changed = self.watched.state().changed
        self.assertLess(abs(changed - time.time()), 60)

    def test_the_systems_own_files_have_a_state_and_it_costs_little(self) -> None:
        watched = Watched(ACCOUNTS, FOLDERS)
        if not os.path.isdir("/etc/pam.d"):
            raise SkipTest("/etc/pam.d")
        began = time.perf_counter()
        states = {watched.state().files for _ in range(100)}
        self.assertLess((time.perf_counter() - began) / 100, 0.02)  # it takes 0.00015 s; a login by PAM takes 0.03
        self.assertLessEqual(len(states), 3)  # some other test may make a user meanwhile


def _forbidden(path: str) -> os.stat_result:
    raise PermissionError(13, "Permission denied", path)
