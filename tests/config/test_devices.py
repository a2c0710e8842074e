"""The lines of the device table."""

from __future__ import annotations

import ipaddress

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.address import Address
from lanmail.config.devices import USUAL_RATE, Device, Rate, network, parse
from lanmail.status import PermanentFailure

SCAN = Address("scan", "iscb-corporation.com")
NEL = Address("nel", "iscb-corporation.com")
ONE = ipaddress.ip_network("192.168.1.50")


def one(line: str) -> Device:
    (device,), problems = parse(line.encode(), "devices")
    assert not problems, problems
    return device


def faults(line: str) -> list[str]:
    devices, problems = parse(line.encode(), "devices")
    assert not devices, devices
    return [str(problem) for problem in problems]


class LineTests(SynchronousTestCase):
    def test_a_line_needs_a_machine_and_the_address_that_it_sends_from(self) -> None:
        self.assertEqual(one("192.168.1.50 from=scan@iscb-corporation.com"), Device(ONE, SCAN))
        self.assertEqual(Device(ONE, SCAN).rate, USUAL_RATE)

    def test_everything_can_be_said(self) -> None:
        device = one(
            "\t192.168.1.64/28  rate=5/m to=nel@ISCB-corporation.com.,boss@x.example from=scan@iscb-corporation.com"
        )
        self.assertEqual(device.network, ipaddress.ip_network("192.168.1.64/28"))
        self.assertEqual(device.recipients, (NEL, Address("boss", "x.example")))
        self.assertEqual(device.rate, Rate(5, 60))

    def test_networks_of_ipv6_are_written_with_and_without_brackets_and_v4_mapped_ones_are_ipv4(self) -> None:
        for text, meant in (
            ("[fd00::]/64", "fd00::/64"),
            ("fd00::/64", "fd00::/64"),
            ("fd00::5", "fd00::5/128"),
            ("[::ffff:192.168.1.50]", "192.168.1.50/32"),
        ):
            self.assertEqual(one(f"{text} from=a@b.example").network, ipaddress.ip_network(meant))

    def test_comments_and_empty_lines_are_passed_over(self) -> None:
        text = (
            "\ufeff# printers\n\n192.168.1.50 from=scan@iscb-corporation.com # in the hall, to=nobody\r\n   # rate=\n"
        )
        self.assertEqual(parse(text.encode(), "devices"), ((Device(ONE, SCAN),), ()))

    def test_every_fault_of_every_line_is_named_by_its_line(self) -> None:
        text = """\
192.168.1.50 from=scan@iscb-corporation.com
192.168.1.51
printer from=scan to=x rate=many
192.168.1.0/16 from=a@b.example
192.168.1.52 from=a@b.example from=c@d.example
192.168.1.53 from=a@b.example form=c@d.example to
192.168.1.50/32 from=other@iscb-corporation.com
0.0.0.0/0 from=a@b.example to=anywhere
"""
        devices, problems = parse(text.encode(), "/etc/lanmail/devices")
        self.assertEqual(devices, (Device(ONE, SCAN),))
        told = [str(problem).removeprefix("/etc/lanmail/devices:") for problem in problems]
        self.assertEqual([line.partition(":")[0] for line in told], [*"2", *"3333", *"4", *"5", *"66", *"7", *"8"])
        self.assertIn("from= is missing", told[0])
        self.assertIn("'scan' is not a whole address", told[2])
        self.assertIn("perhaps you mean 192.168.0.0/16", told[5])
        self.assertIn("'form=c@d.example' is none of from=, to=, rate=", told[7])
        self.assertIn("192.168.1.50 is on line 1 already", told[9])
        self.assertIn("wider than a /8", told[10])

    def test_what_is_no_whole_plain_address_is_none(self) -> None:
        for text in (
            "",
            "scan",
            "<scan@b.example>",
            "@b.example",
            "scan@",
            "a@[192.168.1.1]",
            "a@192.168.1.1",
            '"a b"@c.example',
            "a@b,c",
            "é@b.example",
            "a@" + "b" * 260,
        ):
            self.assertTrue(faults(f"192.168.1.50 from={text}"), text)

    def test_rates_are_so_many_in_a_second_a_minute_an_hour_or_a_day(self) -> None:
        for text, rate in (
            ("1/s", Rate(1, 1)),
            ("60/h", Rate(60, 3600)),
            ("1000/d", Rate(1000, 86400)),
            ("none", None),
        ):
            self.assertEqual(one(f"192.168.1.50 from=a@b.example rate={text}").rate, rate)
        for text in ("", "60", "0/h", "-1/h", "60/w", "60/H", "6.5/m", "1000000000/d"):
            self.assertTrue(faults(f"192.168.1.50 from=a@b.example rate={text}"), text)

    def test_a_word_of_a_to_must_be_an_address_and_the_two_words_stand_alone(self) -> None:
        for text in ("", "nel", "a@b.example,", ",", "anywhere,a@b.example", "a@b.example,local", "Anywhere"):
            self.assertTrue(faults(f"192.168.1.50 from=a@b.example to={text}"), text)

    @settings(max_examples=150, deadline=None)
    @given(st.binary(max_size=300))
    def test_no_file_is_a_crash(self, data: bytes) -> None:
        parse(data, "devices")

    @settings(max_examples=150, deadline=None)
    @given(
        st.one_of(st.ip_addresses().map(str), st.just("10.0.0.0/8"), st.just("fd00::/64")),
        st.sampled_from(["", "local", "anywhere", "nel@b.example", "nel@b.example,a+b=c@d.example"]),
        st.sampled_from(["", "60/h", "1/s", "none", "24/d"]),
    )
    def test_what_is_written_is_read_as_the_same(self, where: str, to: str, rate: str) -> None:
        device = one(f"{where} from=scan@b.example" + (f" to={to}" if to else "") + (f" rate={rate}" if rate else ""))
        self.assertEqual(one(str(device)), device)
        self.assertEqual(network(device.place), device.network)


class RecipientTests(SynchronousTestCase):
    def test_to_whom_the_table_says_nothing_mail_stays_here(self) -> None:
        for line in ("192.168.1.50 from=a@b.example", "192.168.1.50 from=a@b.example to=local"):
            self.assertFalse(one(line).may_leave_to(Address("x", "elsewhere.example"), "b.example"))

    def test_anywhere_is_anywhere(self) -> None:
        self.assertTrue(
            one("192.168.1.50 from=a@b.example to=anywhere").may_leave_to(
                Address("x", "elsewhere.example"), "b.example"
            )
        )

    def test_where_recipients_are_named_there_are_no_others(self) -> None:
        device = one("192.168.1.50 from=a@b.example to=nel@b.example,boss@elsewhere.example")
        for there in (Address("nel", "b.example"), Address("Nel"), Address("boss", "elsewhere.example")):
            self.assertTrue(device.may_leave_to(there, "b.example"))
        for other in (Address("nel", "elsewhere.example"), Address("julien"), Address("nel+x", "b.example")):
            failure = self.assertRaises(PermanentFailure, device.may_leave_to, other, "b.example")
            self.assertEqual((failure.status.code, failure.status.enhanced), (554, "5.7.1"))
