from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.config import kinds
from lanmail.config.kinds import AccountSource, Kind, T
from lanmail.config.parameters import PARAMETERS
from lanmail.config.problems import BadValue
from tests.config.fake import FakeMachine


@dataclass
class FakeContext:
    """config.kinds.Context, which knows what it was given."""

    machine: FakeMachine = field(default_factory=FakeMachine)
    texts: dict[str, str] = field(default_factory=lambda: {"inet_protocols": "all", "myhostname": "mail.lan"})
    warnings: list[str] = field(default_factory=list)

    def text(self, name: str) -> str:
        return self.texts.get(name, "")

    def written(self, name: str) -> str | None:
        return self.texts.get(name)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def read(kind: Kind[T], text: str) -> T:
    return kind.read(text, FakeContext())


class TestKinds(SynchronousTestCase):
    def refused(self, kind: Kind[object], *texts: str) -> None:
        for text in texts:
            with self.assertRaises(BadValue, msg=repr(text)):
                read(kind, text)

    def test_numbers_are_written_in_digits_alone(self) -> None:
        self.assertEqual(read(kinds.OCTETS, "10240000"), 10240000)
        self.assertEqual(read(kinds.COUNT, "0"), 0)
        self.refused(kinds.OCTETS, "", "10M", "-1", "1.5", " 1", "٣", "9" * 40)
        self.refused(kinds.COUNT_FROM_1, "0")
        self.refused(kinds.PORT, "65536", "smtp")

    def test_times_have_units_and_seconds_where_none_is_said(self) -> None:
        for text, seconds in (("30", 30), ("30s", 30), ("5m", 300), ("4h", 14400), ("2d", 172800), ("1w", 604800)):
            self.assertEqual(read(kinds.TIME, text), seconds)
        self.refused(kinds.TIME, "", "s", "5 m", "5M", "1.5h", "-1s", "9999999w")

    def test_a_path_is_absolute_and_a_spool_is_no_maildir(self) -> None:
        self.assertEqual(read(kinds.PATH, "/var/spool/"), "/var/spool")
        self.assertEqual(read(kinds.PATH, "/"), "/")
        self.refused(kinds.PATH, "", "var/spool", "~/mail", "/a\nb")
        self.assertEqual(read(kinds.PATH_OR_NOTHING, ""), "")
        with self.assertRaises(BadValue) as caught:
            read(kinds.SPOOL, "/var/mail/")
        self.assertIn("maildir", str(caught.exception))

    def test_headers_are_names_with_or_without_colons(self) -> None:
        self.assertEqual(read(kinds.HEADERS, "Bcc, Return-Path:"), ("bcc", "return-path"))
        self.assertEqual(read(kinds.HEADERS, ""), ())
        self.refused(kinds.HEADERS, "a:b", "é")

    def test_delimiters_are_no_part_of_a_name(self) -> None:
        self.assertEqual(read(kinds.DELIMITERS, "+-"), "+-")
        self.refused(kinds.DELIMITERS, "a", "@", "+ -", "_")

    def test_locks_are_those_that_we_have(self) -> None:
        self.assertEqual(read(kinds.LOCKS, "fcntl, dotlock"), {"fcntl", "dotlock"})
        self.refused(kinds.LOCKS, "", "lockf")

    def test_accounts_come_from_the_system_and_from_files(self) -> None:
        self.assertEqual(
            read(kinds.ACCOUNTS, "system, passwd-file:/etc/lanmail/passwd"),
            (AccountSource("system"), AccountSource("passwd-file", "/etc/lanmail/passwd")),
        )
        self.assertEqual(
            read(kinds.ACCOUNTS, "{passwd-file:/my files/passwd}"), (AccountSource("passwd-file", "/my files/passwd"),)
        )
        self.refused(kinds.ACCOUNTS, "", "pam", "passwd-file:passwd", "passwd-file:")

    def test_uids_are_ranges_without_root(self) -> None:
        people = read(kinds.USER_IDS, "1000-65533, 65535-4294967293, 500")
        for uid in (500, 1000, 65533, 65535, 4294967293):
            self.assertIn(uid, people)
        for uid in (0, 501, 999, 65534, 4294967294):
            self.assertNotIn(uid, people)
        self.refused(kinds.USER_IDS, "0-1000", "0", "5-1", "julien", "1-")

    def test_a_choice_forgives_its_case(self) -> None:
        self.assertEqual(read(kinds.choice("host", "subnet"), "Subnet"), "subnet")
        self.refused(kinds.choice("host", "subnet"), "", "lan")

    def test_endpoints_look_like_endpoints(self) -> None:
        self.assertEqual(
            read(kinds.ENDPOINTS, "tcp:2525:interface=127.0.0.1  unix:/run/x"),
            ("tcp:2525:interface=127.0.0.1", "unix:/run/x"),
        )
        self.assertEqual(read(kinds.ENDPOINTS, ""), ())
        self.refused(kinds.ENDPOINTS, "2525", "127.0.0.1:2525")

    def test_the_port_of_a_tcp_endpoint_is_a_number(self) -> None:
        for text in (
            *("tcp:25", "tcp:port=25:interface=127.0.0.1", "tcp6:interface=\\:\\:1:port=25", "tcp:0", "haproxy:tcp:25"),
            *("systemd:domain=INET:index=0", "unix:/run/x", "nonsense:1"),
        ):
            self.assertEqual(read(kinds.ENDPOINTS, text), (text,))
        for text in ("tcp:foo", "tcp6:smtp", "haproxy:tcp:foo", "tcp:port=foo", "tcp:65536", "tcp:-1", "tcp:", "tcp:٣"):
            with self.assertRaises(BadValue) as caught:
                read(kinds.ENDPOINTS, text)
            self.assertIn("the name of a service is not taken", str(caught.exception))
        self.refused(kinds.ENDPOINTS, "tcp:interface=127.0.0.1", "tcp:25 tcp:foo")

    def test_an_alias_file_may_be_named_without_a_type(self) -> None:
        self.assertEqual(read(kinds.ALIAS_FILES, "/etc/aliases, lmdb:/more"), ("/etc/aliases", "/more"))
        self.refused(kinds.ALIAS_FILES, "aliases", "hash:aliases", "nis:mail.aliases")

    def test_names_of_accounts_and_services_are_no_paths(self) -> None:
        self.assertEqual(read(kinds.ACCOUNT, "lanmail"), "lanmail")
        for text in ("", "../x", "a b", "-r", "a/b", "."):
            self.refused(kinds.ACCOUNT, text)
            self.refused(kinds.SERVICE, text)

    @given(st.text(max_size=40) | st.text(alphabet="![]/:.0123456789abcdef,{}- $hash", max_size=30))
    @settings(max_examples=150, deadline=None)
    def test_no_text_breaks_any_kind(self, text: str) -> None:
        for parameter in PARAMETERS.values():
            try:
                parameter.kind.read(text, FakeContext())
            except BadValue:
                pass
