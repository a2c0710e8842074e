"""``lanmail device``."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from lanmail.accounts.devices import read_table
from lanmail.admin.device import device_command


class DeviceCommandTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        self.table, self.main_cf = folder / "devices", folder / "main.cf"
        self.configure(f"device_table = {self.table}")

    def configure(self, more: str) -> None:
        self.main_cf.write_text(
            f"myhostname = mail.lan.example\nmydomain = lan.example\nmyorigin = $mydomain\n{more}\n"
        )

    def run_it(self, *arguments: str) -> Result:
        return CliRunner().invoke(device_command, ["--config", str(self.main_cf), *arguments])

    def done(self, *arguments: str) -> str:
        result = self.run_it(*arguments)
        self.assertEqual(result.exit_code, 0, result.output)
        return result.output

    def refused(self, *arguments: str, code: int = 1) -> str:
        result = self.run_it(*arguments)
        self.assertEqual(result.exit_code, code, result.output)
        self.assertNotIn("Traceback", result.output)
        return result.output

    def test_a_printer_is_added_listed_and_removed(self) -> None:
        self.assertIn("from=scan@lan.example", self.done("add", "192.168.1.50", "--from", "scan"))
        self.done(
            "add", "fd00::/64", "--from", "cam@x.example", "--to", "nel", "--to", "boss@y.example", "--rate", "5/m"
        )
        self.done("add", "192.168.1.0/24", "--from", "lan", "--to", "anywhere", "--rate", "none")
        self.assertEqual(
            self.done("list").splitlines(),
            [
                "192.168.1.50    from=scan@lan.example  to=local                           rate=60/h",
                "fd00::/64       from=cam@x.example     to=nel@lan.example,boss@y.example  rate=5/m",
                "192.168.1.0/24  from=lan@lan.example   to=anywhere                        rate=none",
            ],
        )
        self.assertEqual(len(read_table(str(self.table)).devices), 3)
        self.assertIn("is not in", self.done("remove", "192.168.1.50"))
        self.assertIn("has no line for 192.168.1.50", self.refused("remove", "192.168.1.50"))

    def test_an_empty_table_is_an_empty_list(self) -> None:
        self.assertEqual(self.done("list"), "")

    def test_what_the_server_would_refuse_is_not_added(self) -> None:
        for arguments in (
            ("printer", "--from", "scan"),
            ("192.168.1.0/16", "--from", "scan"),
            ("0.0.0.0/0", "--from", "scan"),
            ("192.168.1.50", "--from", ""),
            ("192.168.1.50", "--from", "a b"),
            ("192.168.1.50", "--from", "<>"),
            ("192.168.1.50", "--from", "scan\n192.168.1.51 from=x"),
            ("192.168.1.50", "--from", "scan", "--to", "anywhere", "--to", "nel"),
            ("192.168.1.50", "--from", "scan", "--to", ""),
            ("192.168.1.50", "--from", "scan", "--rate", "often"),
        ):
            self.refused("add", *arguments)
        self.refused("add", "192.168.1.50", code=2)
        self.assertFalse(self.table.exists())

    def test_one_network_has_one_line(self) -> None:
        self.done("add", "192.168.1.50", "--from", "scan")
        self.assertIn("take it out first", self.refused("add", "192.168.1.50", "--from", "other"))

    def test_a_table_with_bad_lines_is_told_line_by_line_and_left_alone(self) -> None:
        self.table.write_text("192.168.1.50\nprinter from=a@b.example\n")
        for arguments in (("list",), ("add", "192.168.1.51", "--from", "scan"), ("remove", "192.168.1.50")):
            output = self.refused(*arguments)
            self.assertIn(f"{self.table}:1: from= is missing", output)
            self.assertIn(f"{self.table}:2: printer is not a network", output)
        self.assertEqual(self.table.read_text(), "192.168.1.50\nprinter from=a@b.example\n")

    def test_a_file_or_a_main_cf_that_cannot_be_used_is_a_sentence(self) -> None:
        self.configure("device_table = /nowhere/devices")
        self.assertIn("/nowhere/devices: No such file", self.refused("add", "192.168.1.50", "--from", "scan"))
        self.configure("device_table =")
        self.assertIn("device_table is set to nothing", self.refused("list"))
        self.main_cf.unlink()
        self.assertIn(str(self.main_cf), self.refused("list"))

    def test_main_cf_may_be_named_behind_the_verb_too(self) -> None:
        result = CliRunner().invoke(device_command, ["list", "-c", str(self.main_cf)])
        self.assertEqual(result.exit_code, 0, result.output)
