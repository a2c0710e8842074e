"""Changing the device table."""

from __future__ import annotations

import ipaddress
import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from lanmail.accounts.device_edit import add, remove
from lanmail.accounts.devices import BadTable, read_table
from lanmail.address import Address
from lanmail.config.devices import Device, network

ROOT = Path(__file__).resolve().parent.parent.parent
SCAN = Address("scan", "b.example")


def device(text: str) -> Device:
    return Device(network(text), SCAN)


class EditTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        self.path = folder / "devices"

    def add(self, text: str) -> None:
        add(str(self.path), device(text))

    def test_the_file_is_made_for_everybody_to_read_whatever_the_umask_is(self) -> None:
        for umask in (0o077, 0o000):
            self.addCleanup(os.umask, os.umask(umask))
            self.add("192.168.1.50")
            self.assertEqual(self.path.stat().st_mode & 0o777, 0o644)
            self.path.unlink()

    def test_what_else_stands_in_the_file_stays(self) -> None:
        before = "# the hall\n\n192.168.1.40   from=a@b.example   # old\n  # the end, w\udce9ll\n"
        self.path.write_text(before, errors="surrogateescape")
        self.path.chmod(0o640)
        self.add("192.168.1.50")
        self.assertEqual(self.path.read_text(errors="surrogateescape"), before + "192.168.1.50 from=scan@b.example\n")
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o640)
        self.assertTrue(remove(str(self.path), ipaddress.ip_network("192.168.1.50")))
        self.assertEqual(self.path.read_text(errors="surrogateescape"), before)

    def test_a_last_line_without_its_end_is_not_continued(self) -> None:
        self.path.write_text("192.168.1.40 from=a@b.example")
        self.add("192.168.1.50")
        self.assertEqual(len(read_table(str(self.path)).devices), 2)

    def test_one_network_has_one_line(self) -> None:
        self.add("192.168.1.50")
        error = self.assertRaises(ValueError, self.add, "192.168.1.50/32")
        self.assertIn("lanmail device remove 192.168.1.50", str(error))
        self.add("192.168.1.0/24")

    def test_what_is_not_there_is_not_taken_out(self) -> None:
        where = ipaddress.ip_network("192.168.1.50")
        self.assertFalse(remove(str(self.path), where))
        self.assertFalse(self.path.exists())
        self.add("192.168.1.0/24")
        self.assertFalse(remove(str(self.path), where))

    def test_however_a_line_writes_its_network_it_is_found(self) -> None:
        self.path.write_text("[fd00::]/64 from=a@b.example\n192.168.1.50/32 from=a@b.example\n")
        for text in ("fd00::/64", "192.168.1.50"):
            self.assertTrue(remove(str(self.path), network(text)))
        self.assertEqual(self.path.read_text(), "")

    def test_a_table_that_the_server_would_refuse_is_not_changed(self) -> None:
        self.path.write_text("192.168.1.50 from=\n")
        self.assertRaises(BadTable, self.add, "192.168.1.51")
        self.assertRaises(BadTable, remove, str(self.path), network("192.168.1.50"))
        self.assertEqual(self.path.read_text(), "192.168.1.50 from=\n")
        self.path.unlink()
        self.path.symlink_to("elsewhere")
        self.assertRaises(BadTable, self.add, "192.168.1.51")
        self.assertFalse((self.path.parent / "elsewhere").exists())

    def test_of_many_who_add_at_once_nobody_is_lost(self) -> None:
        program = (
            "import sys; sys.path.insert(0, sys.argv[1])\n"
            "from tests.accounts.test_device_edit import add, device\n"
            "for n in range(10): add(sys.argv[2], device(f'10.0.{sys.argv[3]}.{n}'))\n"
        )
        writers = [
            subprocess.Popen([sys.executable, "-c", program, str(ROOT), str(self.path), str(n)]) for n in range(3)
        ]
        self.assertEqual([writer.wait(60) for writer in writers], [0, 0, 0])
        self.assertEqual(len(read_table(str(self.path)).devices), 30)
        self.assertEqual(os.listdir(self.path.parent), ["devices"])
