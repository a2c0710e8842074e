"""The arguments of the verbs: what is understood, and with which status the rest is refused."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.address import NULL_SENDER, Address
from lanmail.interfaces import MailParameters, RecipientParameters
from lanmail.smtp import grammar
from lanmail.smtp.grammar import Malformed


def sender(text: str) -> Address:
    return grammar.mail(text.encode())[0]


def parameters(text: str, *, offers_auth: bool = False) -> MailParameters:
    return grammar.mail(text.encode(), offers_auth=offers_auth)[1]


def recipient(text: str) -> Address:
    return grammar.recipient(text.encode(), smtputf8=True)[0]


class Refusals(SynchronousTestCase):
    def refused(self, argument: str | bytes, code: int, enhanced: str, *, smtputf8: bool = False) -> None:
        """By MAIL or by RCPT, whichever the argument begins like."""
        octets = argument if isinstance(argument, bytes) else argument.encode()
        with self.assertRaises(Malformed) as raised:
            if octets.upper().startswith(b"TO"):
                grammar.recipient(octets, smtputf8=smtputf8)
            else:
                grammar.mail(octets)
        self.assertEqual((raised.exception.status.code, raised.exception.status.enhanced), (code, enhanced), argument)


class AddressTests(Refusals):
    def test_an_address_keeps_the_case_of_its_local_part_only(self) -> None:
        self.assertEqual(sender("FROM:<Julien@ISCB-Corporation.com>"), Address("Julien", "iscb-corporation.com"))

    def test_the_null_sender_is_nobody_and_nobody_is_no_recipient(self) -> None:
        self.assertEqual(sender("FROM:<>"), NULL_SENDER)
        self.assertEqual(sender("from: <> "), NULL_SENDER)
        self.refused("TO:<>", 501, "5.1.3")

    def test_postmaster_and_other_names_need_no_domain(self) -> None:
        self.assertEqual(recipient("TO:<Postmaster>"), Address("Postmaster"))
        self.assertEqual(recipient("TO:nel"), Address("nel"))

    def test_sloppy_forms_of_real_clients_are_taken(self) -> None:
        for text in ("FROM: <a@b.example>", "FROM:a@b.example", "From: a@b.example ", "FROM:< a@b.example >"):
            self.assertEqual(sender(text), Address("a", "b.example"), text)

    def test_quoted_local_parts_are_unquoted(self) -> None:
        self.assertEqual(sender(r'FROM:<"John Doe"@b>'), Address("John Doe", "b"))
        self.assertEqual(sender(r'FROM:<"a\"b\\c>"@b>'), Address(r'a"b\c>', "b"))
        self.assertEqual(sender('FROM:<"plain"@b>'), Address("plain", "b"))
        self.assertEqual(sender('FROM:<"a".b."c d"@e>'), Address("a.b.c d", "e"))
        self.assertEqual(sender('FROM:"a b"@c SIZE=1'), Address("a b", "c"))

    def test_dots_in_odd_places_are_taken_as_postfix_takes_them(self) -> None:
        for local in ("a..b", ".a", "a."):
            self.assertEqual(sender(f"FROM:<{local}@docomo.example>"), Address(local, "docomo.example"))

    def test_the_last_at_sign_parts_name_and_domain(self) -> None:
        self.assertEqual(recipient("TO:<user@other@ours>"), Address("user@other", "ours"))
        self.assertEqual(recipient('TO:<"user@other"@ours>'), Address("user@other", "ours"))
        self.assertEqual(recipient('TO:<"user@other">'), Address("user@other"))
        self.assertEqual(recipient("TO:<user%other@ours>"), Address("user%other", "ours"))
        self.assertEqual(recipient("TO:<ours!user>"), Address("ours!user"))

    def test_source_routes_are_left_out(self) -> None:
        self.assertEqual(recipient("TO:<@a,@b.example:user@c>"), Address("user", "c"))
        for bad in ("TO:<@a:>", "TO:<@a>", "TO:<@a,b:user@c>", "TO:<@a b:user@c>", "TO:<@:user@c>"):
            self.refused(bad, 501, "5.1.3")

    def test_literals_are_addresses_of_machines(self) -> None:
        self.assertEqual(sender("FROM:<a@[192.168.1.5]>"), Address("a", "[192.168.1.5]"))
        self.assertEqual(sender("FROM:<a@[ipv6:FD00:0:0::5]>"), Address("a", "[IPv6:fd00::5]"))
        for bad in (
            "[]",
            "[1.2.3]",
            "[1.2.3.4",
            "[IPv6:1.2.3.4]",
            "[fd00::5]",
            "[IPv6:fe80::1%eth0]",
            "[x:y]",
            "[1.2.3.4]x",
        ):
            self.refused(f"FROM:<a@{bad}>", 501, "5.1.7")

    def test_domains_are_names_of_machines_hyphens_and_underscores_anywhere(self) -> None:
        self.assertEqual(sender("FROM:<a@-My_PC.>"), Address("a", "-my_pc"))
        label = "x" * 63
        self.assertEqual(sender(f"FROM:<a@{label}>").domain, label)
        for bad in (
            f"{label}x",
            "",
            ".",
            "a..b",
            ".a",
            "a,b",
            "a b",
            'b"',
            '"b"',
            "a:b",
            "a/b",
            ".".join([label] * 4) + ".x",
        ):
            self.refused(f"FROM:<a@{bad}>", 501, "5.1.7")

    def test_what_must_be_quoted_is_not_taken_bare(self) -> None:
        for char in ' "(),:;<>[\\]':
            self.refused(f"TO:<a{char}b@c>", 501, "5.1.3")
        for bad in (
            'TO:<"a@b>',
            'TO:<"a\\"@b>',
            "TO:<a@b",
            "TO:<a@b>x",
            "TO:<a b@c>",
            "TO:<<a@b>>",
            'TO:<""@b>',
            "TO:<@>",
        ):
            self.refused(bad, 501, "5.1.3")

    def test_control_characters_are_refused_everywhere(self) -> None:
        for octet in (*range(32), 127):
            char = chr(octet)
            for text in (
                f"TO:<a{char}@b>",
                f'TO:<"a{char}"@b>',
                f'TO:<"a\\{char}"@b>',
                f"TO:<a@b{char}>",
                f"TO:<a@b>{char}",
            ):
                with self.assertRaises(Malformed, msg=text):
                    grammar.recipient(text.encode())
        # mbox's "From " line forged, and an ISO 8859-1 control that terminals obey.
        self.refused('TO:<"a\nFrom x"@b>', 501, "5.5.4")
        self.refused(f'TO:<"a{chr(0x9B)}"@b>', 501, "5.1.3", smtputf8=True)

    def test_an_address_has_a_length(self) -> None:
        self.assertEqual(len(sender(f"FROM:<{'x' * 300}@b>").local), 300)
        self.refused(f"FROM:<{'x' * 1000}@b>", 501, "5.1.7")

    def test_the_form_itself_is_checked(self) -> None:
        for bad in ("", "FROM", "FROM <a@b>", "FROM :<a@b>", "TO<a@b>", "FROM:", "FROM: "):
            self.refused(bad, 501, "5.5.4")


class Utf8Tests(Refusals):
    def test_addresses_beyond_ascii_need_smtputf8(self) -> None:
        self.refused("FROM:<jürgen@b>", 553, "5.6.7")
        self.refused("TO:<a@bücher.example>", 553, "5.6.7")
        self.assertEqual(sender("FROM:<jürgen@b> SMTPUTF8"), Address("jürgen", "b"))
        self.assertEqual(recipient("TO:<jürgen@b>"), Address("jürgen", "b"))

    def test_a_domain_has_one_form_however_it_is_written(self) -> None:
        for domain in ("bücher.example", "BÜCHER.example", "xn--bcher-kva.example", "bu\u0308cher.example"):
            self.assertEqual(sender(f"FROM:<a@{domain}> SMTPUTF8").domain, "xn--bcher-kva.example", domain)

    def test_a_local_part_has_one_form_too(self) -> None:
        self.assertEqual(sender("FROM:<ju\u0308rgen@b> SMTPUTF8").local, "jürgen")

    def test_what_is_no_utf8_is_refused(self) -> None:
        self.refused(b"FROM:<j\xfcrgen@b> SMTPUTF8", 501, "5.1.7")
        self.refused(b"FROM:<\xed\xa0\x80@b> SMTPUTF8", 501, "5.1.7")

    def test_what_makes_a_log_show_another_address_is_refused(self) -> None:
        for char in "\u2028\u2029\u202e\u2066\u200f\x85":
            self.refused(f"TO:<a{char}b@c>", 501, "5.1.3", smtputf8=True)
        self.refused("TO:<a@b\u202e.example>", 501, "5.1.3", smtputf8=True)


class ParameterTests(Refusals):
    def test_what_we_announce_is_understood(self) -> None:
        self.assertEqual(
            parameters("FROM:<a@b> size=640 body=8bitmime smtputf8"), MailParameters(640, "8BITMIME", smtputf8=True)
        )
        self.assertEqual(parameters("FROM:<>  SIZE=0  BODY=7BIT "), MailParameters(0))

    def test_bad_values_are_refused(self) -> None:
        for bad in ("SIZE=", "SIZE=-1", "SIZE=1k", "SIZE=" + "9" * 21, "BODY=BINARYMIME", "BODY=", "=", "=x", "+x=1"):
            self.refused(f"FROM:<a@b> {bad}", 501, "5.5.4")

    def test_what_we_do_not_know_is_unsupported(self) -> None:
        for bad in ("FOO", "FOO=BAR", "SMTPUTF8=1", "SIZE", "RET", "NOTIFY=NEVER", "AUTH=<>"):
            self.refused(f"FROM:<a@b> {bad}", 555, "5.5.4")
        for bad in ("FOO", "FOO=BAR", "SIZE=1", "NOTIFY", "RET=FULL"):
            self.refused(f"TO:<a@b> {bad}", 555, "5.5.4")

    def test_how_a_report_is_wanted(self) -> None:
        self.assertEqual(
            parameters("FROM:<a@b> ret=hdrs EnvId=QQ+2B314159 SIZE=1"), MailParameters(1, ret="HDRS", envid="QQ+314159")
        )
        said = grammar.recipient(b"TO:<a@b> notify=delay,SUCCESS orcpt=rfc822;ann+3D@c")
        self.assertEqual(said, (Address("a", "b"), RecipientParameters("SUCCESS,DELAY", "rfc822;ann=@c")))

    def test_a_wish_for_reports_that_is_wrong_or_said_twice_is_refused_in_postfixs_words(self) -> None:
        for argument, text in (
            (b"FROM:<a@b> RET=SOME", "Bad RET parameter syntax"),
            (b"FROM:<a@b> RET=FULL RET=FULL", "Bad RET parameter syntax"),
            (b"FROM:<a@b> ENVID=", "Bad ENVID parameter syntax"),
            (b"FROM:<a@b> ENVID=a ENVID=a", "Bad ENVID parameter syntax"),
            (b"TO:<a@b> NOTIFY=NEVER,DELAY", "Error: Bad NOTIFY parameter syntax"),
            (b"TO:<a@b> NOTIFY=NEVER NOTIFY=NEVER", "Error: Bad NOTIFY parameter syntax"),
            (b"TO:<a@b> ORCPT=rfc822;", "Error: Bad ORCPT parameter syntax"),
            (b"TO:<a@b> ORCPT=rfc822;a ORCPT=rfc822;a", "Error: Bad ORCPT parameter syntax"),
        ):
            with self.assertRaises(Malformed) as raised:
                (grammar.mail if argument.startswith(b"FROM") else grammar.recipient)(argument)
            self.assertEqual(str(raised.exception.status), f"501 5.5.4 {text}")

    def test_auth_is_taken_where_auth_is_offered_and_believed_nowhere(self) -> None:
        self.assertEqual(parameters("FROM:<a@b> AUTH=<>", offers_auth=True), MailParameters())
        self.assertEqual(parameters("FROM:<a@b> AUTH=e+3Dmc2@example.com", offers_auth=True), MailParameters())
        for bad in ("AUTH=", "AUTH=a+b", "AUTH=a=b", "AUTH=\u00fc"):
            with self.assertRaises(Malformed):
                parameters(f"FROM:<a@b> {bad}", offers_auth=True)


class ClientNameTests(SynchronousTestCase):
    def test_nearly_anything_names_a_client(self) -> None:
        for name in ("[192.168.1.5]", "portable", "a_b.example", "[IPv6:fd00::5]"):
            self.assertEqual(grammar.client_name(name.encode(), "EHLO"), name)

    def test_what_would_mean_something_in_a_header_does_not_get_there(self) -> None:
        self.assertEqual(grammar.client_name(b'x) by "evil";', "EHLO"), "x??by??evil??")
        self.assertEqual(grammar.client_name("MÉLANIE-PC".encode("latin-1"), "HELO"), "M?LANIE-PC")
        self.assertEqual(grammar.client_name("MÉLANIE-PC".encode(), "HELO"), "M?LANIE-PC")

    def test_no_name_and_control_characters_are_refused(self) -> None:
        for bad in (b"", b"foo\nX-Evil: 1", b"foo\r", b"\0", b"a\x7f"):
            with self.assertRaises(Malformed) as raised:
                grammar.client_name(bad, "EHLO")
            self.assertEqual(str(raised.exception.status), "501 5.5.4 Syntax: EHLO hostname")


class CommandTests(SynchronousTestCase):
    def test_a_verb_and_the_rest(self) -> None:
        for line, expected in (
            (b"noop", ("NOOP", b"")),
            (b"  Mail \t from:<> ", ("MAIL", b"from:<>")),
            (b"RSET\tx", ("RSET", b"x")),
            (b"", ("", b"")),
            (b"\xff\xfe", ("\ufffd\ufffd", b"")),
            (b"a\rb\n c", ("A\rB\n", b"c")),
        ):
            self.assertEqual(grammar.split_command(line), expected)


class RobustnessTests(SynchronousTestCase):
    @given(st.binary(max_size=60) | st.text(max_size=40).map(str.encode), st.booleans(), st.booleans())
    @settings(max_examples=600, deadline=None)
    def test_whatever_comes_is_a_clean_address_or_a_refusal(self, octets: bytes, brackets: bool, utf8: bool) -> None:
        argument = b"TO:<" + octets + b">" if brackets else b"TO:" + octets
        try:
            address, _ = grammar.recipient(argument, smtputf8=utf8)
        except Malformed as malformed:
            self.assertIn(malformed.status.code, (501, 553, 555))
            return
        self.assertTrue(address.local)
        self.assertTrue(address.domain.isascii())
        self.assertTrue(address.local.isprintable() or not address.local.isascii(), address)

    words = st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=20)

    @given(words, st.sampled_from(["", "b", "b.example", "[192.168.1.5]", "[IPv6:fd00::5]"]))
    @settings(max_examples=300, deadline=None)
    def test_an_address_written_out_is_read_back_as_the_same(self, local: str, domain: str) -> None:
        address = Address(local, domain)
        self.assertEqual(recipient(f"TO:<{address}>"), address)

    def test_no_line_takes_long(self) -> None:
        # Twisted's own grammar took 1.2 s for a line like the first.
        began = time.process_time()
        for shape in (
            b"FROM:<a@b>" + b" " * 16_000 + b"x\ny",
            b"FROM:" + b'"\\' * 8000,
            b"FROM:<" + b"@a," * 5000 + b":x@y>",
        ):
            for octets in (shape, shape + b" SMTPUTF8", b"FROM:<a@" + "ü.".encode() * 5000 + b"> SMTPUTF8"):
                with self.assertRaises(Malformed):
                    grammar.mail(octets)
        self.assertLess(time.process_time() - began, 0.5)
