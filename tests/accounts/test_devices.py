"""The device table as it is used."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lanmail.accounts.devices import MAX_FILE, BadTable, DeviceTable, Table, read_table
from lanmail.address import Address
from lanmail.config.devices import Device
from lanmail.files import open_no_link
from lanmail.network import Peer
from lanmail.status import TemporaryFailure
from tests.accounts.fakes import RememberingReport, at_once, begin


class LookUpTests(SynchronousTestCase):
    def table(self, *networks: str) -> Table:
        return Table(
            [Device(ipaddress.ip_network(text), Address(f"of-{n}", "b.example")) for n, text in enumerate(networks)]
        )

    def test_the_narrowest_network_that_contains_a_client_is_its_own(self) -> None:
        table = self.table("10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "fd00::/64", "fd00::5/128")
        for host, number in (
            ("10.2.0.1", 0),
            ("10.1.9.9", 1),
            ("10.1.2.3", 2),
            ("::ffff:10.1.2.3", 2),
            ("fd00::9", 3),
            ("fd00::5", 4),
            ("fd00::5%eth0", 4),
        ):
            device = table.of(host)
            assert device is not None
            self.assertEqual(device.sender.local, f"of-{number}", host)
        for host in ("11.0.0.1", "fd00:1::1", "", "local", "::a01:203"):
            self.assertIsNone(table.of(host), host)

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(st.tuples(st.integers(0, 255), st.integers(24, 32)), max_size=8, unique=True),
        st.integers(0, 255),
    )
    def test_it_finds_what_looking_at_each_line_finds(self, lines: list[tuple[int, int]], last: int) -> None:
        networks = {ipaddress.ip_network(f"10.0.0.{host}/{length}", strict=False) for host, length in lines}
        table = self.table(*map(str, networks))
        address = ipaddress.ip_address(f"10.0.0.{last}")
        wanted = max((network for network in networks if address in network), key=lambda n: n.prefixlen, default=None)
        found = table.of(str(address))
        self.assertEqual(found.network if found else None, wanted)


class _WithFile(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        self.path = folder / "devices"
        self.clock = Clock()
        self.report = RememberingReport()
        self.devices = DeviceTable(str(self.path), at_once, self.clock.seconds, self.report)

    def write(self, text: str) -> None:
        """As an editor does that writes a new file."""
        new = self.path.with_name("new")
        new.write_text(text)
        new.chmod(0o644)
        new.rename(self.path)

    def mail_from(self, host: str) -> Deferred[Device | None]:
        return begin(self.devices.sending(Peer(host)))

    def sender(self, host: str = "192.168.1.50") -> str:
        """Of a message that the client begins a second later."""
        self.clock.advance(1)
        device = self.successResultOf(self.mail_from(host))
        return str(device.sender) if device else ""


class ReadTests(_WithFile):
    def refusal(self) -> list[str]:
        return self.assertRaises(BadTable, read_table, str(self.path)).lines

    def test_no_file_is_an_empty_table(self) -> None:
        self.assertEqual(read_table(str(self.path)).devices, ())

    def test_a_file_that_did_not_change_is_not_read_again(self) -> None:
        self.write("192.168.1.50 from=scan@b.example\n")
        table = read_table(str(self.path))
        self.assertIs(read_table(str(self.path), before=table), table)

    def test_what_everybody_can_write_or_is_no_file_is_refused(self) -> None:
        self.write("")
        self.path.chmod(0o646)
        self.assertIn("chmod o-w", self.refusal()[0])
        self.path.unlink()
        self.path.mkdir()
        self.assertIn("is not a regular file", self.refusal()[0])
        self.path.rmdir()
        os.mkfifo(self.path)
        self.assertIn("is not a regular file", self.refusal()[0])
        self.path.unlink()
        self.path.symlink_to("/etc/passwd")
        self.assertIn("is a symbolic link", self.refusal()[0])

    def test_a_file_that_is_too_large_is_refused(self) -> None:
        self.write("#" * (MAX_FILE + 1))
        self.assertIn("has more than", self.refusal()[0])

    def test_of_very_many_bad_lines_the_first_are_named(self) -> None:
        self.write("printer\n" * 100)
        lines = self.refusal()
        self.assertEqual(lines[0].partition(" ")[0], f"{self.path}:1:")
        self.assertEqual((len(lines), lines[-1]), (21, "and 180 more like these"))

    def test_it_is_opened_by_whoever_was_handed_in(self) -> None:
        self.write("192.168.1.50 from=scan@b.example\n")
        asked = []

        def opened(path: str) -> int:
            asked.append(path)
            return open_no_link(str(self.path))

        self.assertEqual(len(read_table("/elsewhere", opened).devices), 1)
        self.assertEqual(asked, ["/elsewhere"])

    def test_no_descriptor_is_left_open(self) -> None:
        before = len(os.listdir("/proc/self/fd"))
        self.write("bad\n")
        self.refusal()
        self.write("#" * (MAX_FILE + 1))
        self.refusal()
        self.write("")
        read_table(str(self.path))
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)


class UseTests(_WithFile):
    def test_a_change_is_seen_within_a_second_and_the_file_is_not_looked_at_more_often(self) -> None:
        self.write("192.168.1.50 from=scan@b.example\n")
        self.devices.load()
        self.assertEqual(self.sender(), "scan@b.example")
        self.write("192.168.1.50 from=printer@b.example\n")
        device = self.successResultOf(self.mail_from("192.168.1.50"))
        self.assertEqual(str(device and device.sender), "scan@b.example")
        self.assertEqual(self.sender(), "printer@b.example")

    def test_a_file_with_a_bad_line_is_refused_by_line_and_the_old_table_stays(self) -> None:
        self.write("192.168.1.50 from=scan@b.example\n")
        self.devices.load()
        self.write("192.168.1.50 from=other@b.example\n192.168.1.51\n# fine\n192.168.1.52 from=\n")
        for _ in range(3):
            self.assertEqual(self.sender(), "scan@b.example")
        self.assertEqual(len(self.report.lines), 3, self.report)  # once, not each time
        self.assertTrue(self.report.lines[0].startswith(f"warning: {self.path}:2: "))
        self.assertTrue(self.report.lines[1].startswith(f"warning: {self.path}:4: "))
        self.assertIn("stay as they were", self.report.lines[2])
        self.write("192.168.1.50 from=other@b.example\n")
        self.assertEqual(self.sender(), "other@b.example")

    def test_at_start_a_bad_file_is_an_error(self) -> None:
        self.write("192.168.1.50\n")
        self.assertRaises(BadTable, self.devices.load)

    def test_without_a_table_nobody_is_a_device_and_nothing_is_looked_for(self) -> None:
        devices = DeviceTable("", self.fail, self.clock.seconds, self.report)
        devices.load()
        self.assertIsNone(self.successResultOf(begin(devices.sending(Peer("192.168.1.50")))))

    def test_a_file_that_is_gone_for_a_moment_refuses_nobody(self) -> None:
        self.write("192.168.1.50 from=scan@b.example\n")
        self.devices.load()
        self.path.unlink()
        self.assertEqual(self.sender(), "scan@b.example")
        self.write("")  # as an editor that writes in place
        self.write("192.168.1.50 from=printer@b.example\n")
        self.assertEqual(self.sender(), "printer@b.example")
        self.path.unlink()
        self.assertEqual(self.sender(), "printer@b.example")
        self.assertEqual(self.sender(), "")

    def test_whoever_comes_while_the_file_is_read_takes_the_table_that_there_is(self) -> None:
        reading: list[Deferred[Table]] = []

        def in_thread(work: object, *args: object) -> Deferred[Table]:
            reading.append(Deferred())
            return reading[-1]

        devices = DeviceTable(str(self.path), in_thread, self.clock.seconds, self.report)
        self.clock.advance(1)
        first = begin(devices.sending(Peer("192.168.1.50")))
        self.assertNoResult(first)
        self.assertIsNone(self.successResultOf(begin(devices.sending(Peer("192.168.1.50")))))
        reading[0].callback(Table([Device(ipaddress.ip_network("192.168.1.50"), Address("scan", "b.example"))]))
        self.assertIsNotNone(self.successResultOf(first))
        self.assertEqual(len(reading), 1)

    def test_whether_a_look_was_good_is_told_to_whoever_asked_for_it(self) -> None:
        self.write("bad\n")
        self.assertFalse(self.successResultOf(begin(self.devices.refresh())))
        self.write("")
        self.assertTrue(self.successResultOf(begin(self.devices.refresh())))


class RateTests(_WithFile):
    def refused(self, host: str) -> str:
        return str(self.failureResultOf(self.mail_from(host), TemporaryFailure).value.status)

    def test_more_than_its_rate_is_put_off_and_told_once(self) -> None:
        self.write("192.168.1.50 from=scan@b.example rate=3/m\n")
        self.devices.load()
        for _ in range(3):
            self.successResultOf(self.mail_from("192.168.1.50"))
        for _ in range(5):
            self.assertEqual(
                self.refused("192.168.1.50"), "450 4.7.1 Error: too much mail from 192.168.1.50; its limit is 3/m"
            )
        self.assertEqual(len(self.report.lines), 1)
        self.clock.advance(20)
        self.successResultOf(self.mail_from("192.168.1.50"))
        self.refused("192.168.1.50")
        self.assertEqual(len(self.report.lines), 2)

    def test_each_client_of_a_line_has_its_own_rate(self) -> None:
        self.write("192.168.1.0/24 from=scan@b.example rate=1/h\nfd00::/60 from=scan@b.example rate=1/h\n")
        self.devices.load()
        for host in ("192.168.1.50", "192.168.1.51", "fd00::1", "fd00:0:0:1::1"):
            self.successResultOf(self.mail_from(host))
        for host in ("192.168.1.50", "192.168.1.51", "fd00::2", "fd00:0:0:1::2"):  # of a /64 a client has its choice
            self.refused(host)

    def test_without_a_limit_there_is_none(self) -> None:
        self.write("192.168.1.50 from=scan@b.example rate=none\n")
        self.devices.load()
        for _ in range(1000):
            self.successResultOf(self.mail_from("192.168.1.50"))

    def test_a_change_elsewhere_in_the_file_gives_nobody_a_new_rate(self) -> None:
        self.write("192.168.1.50 from=scan@b.example rate=1/h\n")
        self.devices.load()
        self.successResultOf(self.mail_from("192.168.1.50"))
        self.write("192.168.1.51 from=x@b.example\n192.168.1.50 from=other@b.example rate=1/h\n")
        self.clock.advance(1)
        self.refused("192.168.1.50")
