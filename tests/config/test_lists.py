from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lanmail.config.lists import DomainSet, domain, domains, networks
from lanmail.config.problems import BadValue
from tests.config.fake import FakeMachine


def domain_set(text: str, *, subdomains: bool = False, **files: str) -> DomainSet:
    return domains(
        text, FakeMachine(files={f"/{name}": content for name, content in files.items()}), subdomains=subdomains
    )


class TestDomains(SynchronousTestCase):
    def test_a_domain_is_in_its_list_in_any_case_and_with_a_final_dot(self) -> None:
        found = domain_set("Example.com, lan")
        for written in ("example.com", "EXAMPLE.COM", "example.com.", "lan"):
            self.assertIn(written, found)
        for written in ("", "a.example.com", "com", "xexample.com"):
            self.assertNotIn(written, found)

    def test_subdomains_belong_to_relay_domains(self) -> None:
        found = domain_set("example.com", subdomains=True)
        self.assertIn("a.b.example.com", found)
        self.assertNotIn("aexample.com", found)

    def test_a_domain_beyond_ascii_is_the_one_that_clients_name(self) -> None:
        self.assertIn("xn--bro-hoa.example", domain_set("b\u00fcro.example"))
        self.assertIn("a.xn--bro-hoa.example", domain_set("B\u00dcRO.example", subdomains=True))

    def test_the_first_that_matches_decides(self) -> None:
        found = domain_set("!mail.example.com, example.com", subdomains=True)
        self.assertNotIn("mail.example.com", found)
        self.assertIn("example.com", found)
        self.assertEqual(found.names, ("example.com",))

    def test_a_file_stands_for_its_patterns_and_a_mark_before_it_turns_them_all_round(self) -> None:
        found = domain_set("!/no /yes", no="bad.example\n", yes="# ours\nexample.com, bad.example\n\nlan\n")
        self.assertEqual(found.names, ("example.com", "lan"))

    def test_a_table_stands_for_its_keys_and_is_read_as_text(self) -> None:
        for kind in ("hash", "texthash", "lmdb", "btree", "proxy:hash"):
            found = domain_set(f"{kind}:/table, lan", table="example.com OK\nother.example anything at all\n")
            self.assertEqual(found.names, ("example.com", "other.example", "lan"))

    def test_tables_that_are_not_text_are_refused_by_name(self) -> None:
        for kind in ("pcre", "regexp", "ldap", "mysql", "cidr"):
            with self.assertRaises(BadValue) as caught:
                domain_set(f"{kind}:/table")
            self.assertIn(f"tables of type {kind} are not read here", str(caught.exception))

    def test_a_file_that_is_missing_or_that_names_itself_is_said(self) -> None:
        with self.assertRaises(BadValue) as caught:
            domain_set("/nowhere")
        self.assertEqual(str(caught.exception), "cannot read /nowhere: No such file or directory")
        with self.assertRaises(BadValue) as caught:
            domain_set("/loop", loop="/loop\n")
        self.assertIn("deep", str(caught.exception))

    def test_a_bad_pattern_in_a_file_is_told_with_the_file(self) -> None:
        with self.assertRaises(BadValue) as caught:
            domain_set("/list", list="a b user@example.com")
        self.assertEqual(str(caught.exception), "user@example.com (in /list) is not a domain")
        with self.assertRaises(BadValue):
            domain_set("a ! b")

    def test_what_may_be_a_domain(self) -> None:
        for text in ("lan", "a.b-c.d_e", "127"):
            self.assertEqual(domain(text), text)
        self.assertEqual(domain("M\u00fcnchen.Example."), "xn--mnchen-3ya.example")
        for text in ("", ".", "a..b", "-a", "a-.b", "a b", "[::1]", "a@b", "x" * 64, "a." * 200 + "a", "\\lan", "a\0"):
            self.assertRaises(ValueError, domain, text)


class TestNetworkLists(SynchronousTestCase):
    def test_networks_stand_in_lists_and_files(self) -> None:
        machine = FakeMachine(files={"/lan": "192.168.1.0/24 # not a comment", "/ok": "192.168.1.0/24\n10.0.0.1\n"})
        found = networks("!192.168.1.9 /ok, [fd00::]/8 fd01::/16", machine)
        self.assertEqual(str(found), "!192.168.1.9/32 192.168.1.0/24 10.0.0.1/32 fd00::/8 fd01::/16")
        with self.assertRaises(BadValue) as caught:
            networks("/lan", machine)
        self.assertIn("# (in /lan)", str(caught.exception))

    def test_a_network_that_cannot_be_is_refused_with_what_was_meant(self) -> None:
        with self.assertRaises(BadValue) as caught:
            networks("192.168.1.1/24", FakeMachine())
        self.assertEqual(
            str(caught.exception),
            "192.168.1.1/24 has bits set behind its netmask; perhaps you mean 192.168.1.0/24",
        )

    def test_all_that_is_wrong_is_told_at_once_and_with_its_file(self) -> None:
        machine = FakeMachine(files={"/lan": "10.0.0.0/33\n10.0.0.1\nfoo\n"})
        with self.assertRaises(BadValue) as caught:
            networks("bar ! /lan, 10.0.0.0/8 bar", machine)
        no = "is not a network, such as 192.168.1.0/24 or [fd00::]/8"
        self.assertEqual(
            caught.exception.faults,
            (f"bar {no}", "a ! with nothing behind it", f"10.0.0.0/33 (in /lan) {no}", f"foo (in /lan) {no}"),
        )

    def test_of_a_file_that_was_named_by_mistake_not_every_word_is_told(self) -> None:
        machine = FakeMachine(files={"/text": " ".join(f"word{number}" for number in range(1000))})
        with self.assertRaises(BadValue) as caught:
            networks("/text", machine)
        self.assertEqual(len(caught.exception.faults), 21)
        self.assertEqual(caught.exception.faults[-1], "and 980 more like these")
