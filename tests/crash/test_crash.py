"""Some rounds of ``python -m tests.crash``."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.crash.rounds import play
from tests.live import need


class CrashTests(SynchronousTestCase):
    timeout = 300

    def setUp(self) -> None:
        # Not below trial's folder: whoever runs the server must be able to reach it. It is kept where something was wrong.
        self.folder = os.path.realpath(tempfile.mkdtemp(prefix="lanmail-crash-"))
        os.chmod(self.folder, 0o755)

    def play(self, rounds: int, seed: int, owner: str | None = None, workers: int = 1) -> None:
        outcome = play(os.path.join(self.folder, "house"), rounds, seed, owner, workers=workers)
        shutil.rmtree(self.folder)
        print(outcome)
        self.assertGreater(outcome.letters["answered"], 10 * rounds)
        # Where a kill falls is chance; but none of these is rare.
        self.assertGreater(outcome.states["standing"], 0)
        self.assertGreater(outcome.states["begun"] + outcome.states["waiting"], 0)

    def test_killed_ten_times_under_load_every_250_is_kept_once(self) -> None:
        self.play(10, seed=20261125)

    def test_three_workers_killed_one_by_one_and_all_at_once(self) -> None:
        self.play(6, seed=20261127, workers=3)

    def test_also_where_the_server_was_never_root(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("whoever is not root tries just that, above")
        need("setpriv")
        try:
            pwd.getpwnam("lanmail")
        except KeyError as error:
            raise SkipTest("there is no user lanmail") from error
        self.play(3, seed=20261126, owner="lanmail")
