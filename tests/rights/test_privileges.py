"""Root given up, in processes of their own, since there is no way back; judged by the kernel's words."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from lanmail.rights.privileges import CannotDrop, Rights, acting_as, drop
from tests.live import ROOT, need

SCRIPT = """
import os, sys, threading
from lanmail.rights.loading import load_now
from lanmail.rights.privileges import CannotDrop, Rights, acting_as, drop
load_now()
try:
    {body}
except CannotDrop as trouble:
    print("refused:", trouble)
"""


class DropTests(SynchronousTestCase):
    def setUp(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can give root up")

    def run_it(self, *body: str, before: Sequence[str] = ()) -> str:
        script = SCRIPT.format(body="\n    ".join(body))
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [*before, sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=30
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout.strip()

    def test_ids_groups_and_capabilities_are_what_was_asked_for_and_nothing_else(self) -> None:
        rights = Rights((64001,) * 4, (64002,) * 4, frozenset({64002, 8}), (), True, 1)
        self.assertEqual(self.run_it("drop(64001, 64002, [8])", "print(Rights.of())"), repr(rights))

    def test_nobody_s_group_is_kept_of_those_that_root_had(self) -> None:
        said = self.run_it("os.setgroups([0, 4, 64999])", "drop(64001, 64002)", "print(sorted(os.getgroups()))")
        self.assertEqual(said, "[64002]")

    def test_a_program_that_is_run_afterwards_gets_nothing_back(self) -> None:
        need("setpriv")
        said = self.run_it("drop(64001, 64002)", "sys.stdout.flush()", "os.execvp('setpriv', ['setpriv', '--dump'])")
        self.assertIn("no_new_privs: 1", said)
        self.assertIn("Capability bounding set: [none]", said)
        self.assertIn("Inheritable capabilities: [none]", said)

    def test_what_a_keeper_of_capabilities_had_set_does_not_keep_any(self) -> None:
        need("setpriv")
        before = (
            "setpriv",
            "--securebits=+no_setuid_fixup",
            "--inh-caps=+chown,+setuid",
            "--ambient-caps=+chown",
        )
        said = self.run_it("drop(64001, 64002)", "print(Rights.of().capabilities)", before=before)
        self.assertEqual(said, "()")

    def test_where_the_bounding_set_cannot_be_emptied_it_comes_to_nothing(self) -> None:
        need("setpriv")
        said = self.run_it("drop(64001, 64002)", "print(Rights.of())", before=("setpriv", "--bounding-set=-setpcap"))
        self.assertIn("capabilities=('CapBnd',), no_new_privileges=True", said)

    def test_with_a_thread_it_is_refused_and_nothing_is_given_up(self) -> None:
        said = self.run_it(
            "threading.Thread(target=sys.stdin.read, daemon=True).start() if sys.stdin else None",
            "threading.Thread(target=threading.Event().wait, daemon=True).start()",
            "try: drop(64001, 64002)",
            "except CannotDrop as trouble: print(trouble, os.geteuid(), flush=True)",
            "os._exit(0)",
        )
        self.assertEqual(said, "there are threads already 0")

    def test_root_in_any_form_is_no_account_to_become(self) -> None:
        for uid, gid, groups in ((0, 5, ()), (5, 0, ()), (5, 5, (0,))):
            self.assertRaises(CannotDrop, drop, uid, gid, groups)
        self.assertEqual(os.getresuid(), (0, 0, 0))

    def test_without_root_there_is_nothing_to_give_and_that_is_said(self) -> None:
        said = self.run_it("os.setuid(64005)", "drop(64001, 64002)")
        self.assertEqual(said, "refused: cannot become uid 64001: Operation not permitted")

    def test_files_are_made_without_a_name_and_locked_afterwards_as_before(self) -> None:
        folder = tempfile.mkdtemp(prefix="lanmail-drop-")
        self.addCleanup(os.rmdir, folder)
        self.addCleanup(os.unlink, f"{folder}/ann")
        os.chown(folder, 64001, 64002)
        self.run_it(
            "from lanmail.mailbox.newborn import Newborn",
            "drop(64001, 64002)",
            f"folder = os.open({folder!r}, os.O_RDONLY)",
            "with Newborn(folder) as new: new.appear('ann')",
        )
        self.assertEqual(os.stat(f"{folder}/ann").st_uid, 64001)

    def test_acting_as_somebody_ends_whatever_happens(self) -> None:
        before = Rights.of()
        path = self.mktemp()
        os.mkdir(path, 0o777)
        os.chmod(path, 0o777)
        with self.assertRaises(KeyError), acting_as(64001, 64002, [8]):
            within = Rights.of()
            raise KeyError
        self.assertEqual((within.uids, within.gids), ((0, 64001, 0, 64001), (0, 64002, 0, 64002)))
        self.assertEqual(within.groups, {64002, 8})
        self.assertEqual(Rights.of(), before)
