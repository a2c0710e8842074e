from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.address import Address
from lanmail.delivery.luser_relay import LuserRelay


def relay(template: str) -> LuserRelay:
    return LuserRelay(template, "lan.example", lambda address: (*address.local.partition("+"),))


def to(template: str, local: str, domain: str = "srv.lan.example") -> str:
    return str(relay(template).address(Address(local, domain)))


class LuserRelayTests(SynchronousTestCase):
    def test_postfix_s_names_stand_for_parts_of_the_address(self) -> None:
        for template, expected in (
            ("admin", "admin@lan.example"),
            ("admin@Other.Example.", "admin@other.example"),
            ("$user@other.example", "who@other.example"),
            ("$local", "who+where@lan.example"),
            ("admin+$user-$extension", "admin+who-where@lan.example"),
            ("admin${recipient_delimiter}${extension}", "admin+where@lan.example"),
            ("$recipient", "Who+Where@srv.lan.example"),
            ("catch+$recipient", "catch+Who+Where@srv.lan.example"),
            ("admin@$domain", "admin@srv.lan.example"),
            ("a${home}${shell}", "a@lan.example"),
            ("${extension?tagged}${extension:bare}", "tagged@lan.example"),
            ("${{$domain} == {srv.lan.example} ? {srv} : {lan}}", "srv@lan.example"),
        ):
            self.assertEqual(to(template, "Who+Where"), expected, template)
        self.assertEqual(to("${extension?tagged}${extension:bare}", "who"), "bare@lan.example")

    def test_what_a_stranger_wrote_is_no_reference_and_parts_nothing(self) -> None:
        self.assertEqual(to("admin+$local", "$recipient"), "admin+$recipient@lan.example")
        self.assertEqual(to("$user", "${user"), "${user@lan.example")
        self.assertEqual(
            relay("admin+$local").address(Address("x@elsewhere", "lan")), Address("admin+x@elsewhere", "lan.example")
        )
        self.assertEqual(relay("$recipient").address(Address("x@elsewhere", "lan")), Address("x@elsewhere", "lan"))

    def test_what_makes_no_address_is_nobody(self) -> None:
        self.assertIsNone(relay("$extension").address(Address("who", "lan")))
        self.assertIsNone(relay("$local$local").address(Address("w" * 500, "lan")))
        self.assertIsNone(relay("$local").address(Address("who\r\nX: y", "lan")))

    @settings(max_examples=200, deadline=None)
    @given(st.text(min_size=1, max_size=30))
    def test_whoever_is_unknown_the_domain_is_the_administrator_s(self, local: str) -> None:
        found = relay("admin+$local@here.example").address(Address(local, "lan.example"))
        if found is not None:
            self.assertEqual(found, Address(f"admin+{local.casefold()}", "here.example"))
