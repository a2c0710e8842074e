from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lanmail.admin.certificate import DER_NAME, PEM_NAME
from tests.live import ROOT


class ClientsPageTests(SynchronousTestCase):
    def test_it_has_steps_for_every_system(self) -> None:
        page = (ROOT / "docs" / "clients.md").read_text()
        for system in ("Debian, Ubuntu", "Fedora, RHEL", "Windows", "macOS", "Android", "iOS, iPadOS", "Thunderbird"):
            self.assertRegex(page, rf"\n\*\*{system}\.?\*\*", system)
        for name in (PEM_NAME, DER_NAME):
            self.assertIn(name, page)
