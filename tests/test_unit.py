"""etc/lanmail.service, as systemd itself judges it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.live import ROOT, need

UNIT = ROOT / "etc" / "lanmail.service"
EXPOSURE = 3.0
"""What was reached; each thing that is left open is in the unit, with its reason."""


class UnitTests(SynchronousTestCase):
    def setUp(self) -> None:
        need("systemd-analyze")
        self.text = UNIT.read_text()
        folder = Path(self.mktemp())
        folder.mkdir()
        self.unit = folder / UNIT.name
        # It is judged where lanmail is not installed.
        self.unit.write_text(re.sub(r"/opt/lanmail/bin/\S+", "/bin/true", self.text))

    def analyze(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["systemd-analyze", *arguments, str(self.unit)],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0"},
        )

    def test_systemd_has_nothing_to_say_against_it(self) -> None:
        done = self.analyze("verify")
        said = [line for line in (done.stdout + done.stderr).splitlines() if UNIT.name in line]
        self.assertEqual((done.returncode, said), (0, []))

    def test_its_exposure_stays_as_low_as_it_was(self) -> None:
        done = self.analyze("security", "--offline=yes", "--no-pager")
        found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
        assert found is not None, done.stderr
        self.assertLessEqual(float(found[1]), EXPOSURE, done.stdout)

    def test_the_capabilities_that_the_guard_and_giving_root_up_need_are_left(self) -> None:
        bounded = re.search(r"^CapabilityBoundingSet=(.*)$", self.text, re.MULTILINE)
        assert bounded is not None
        needed = "SETPCAP SETUID SETGID CHOWN FOWNER DAC_OVERRIDE KILL AUDIT_WRITE NET_BIND_SERVICE"
        self.assertEqual(set(bounded[1].split()), {f"CAP_{name}" for name in needed.split()})
