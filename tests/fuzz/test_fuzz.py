"""A minute of the search, the same each time, and everything that it ever found."""

from __future__ import annotations

from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SynchronousTestCase

from lanmail.tls import given
from lanmail.tls.certificate import Chain
from lanmail.tls.given import GivenFiles
from tests.fuzz.found import FOUND
from tests.fuzz.search import Search, replay, shorter
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS
from tests.fuzz.targets.files import pem
from tests.tls.made import NOW, foreign, plan

# Executions, one to four seconds each.
OFTEN = {
    "smtp": 1500,
    "pop3": 2000,
    "reading": 2500,
    "taking out": 3000,
    "letter": 2500,
    "journal": 1000,
    "saved index": 20000,
    "names": 20000,
    "submitted": 8000,
    "bounces": 300,
    "main.cf": 200,
    "devices": 2000,
    "aliases": 5000,
    "forward": 5000,
    "passwd-file": 20000,
    "certificates": 2000,
    "addresses": 8000,
    "reports": 15000,
    "sasl": 30000,
    "questions": 20000,
    "frames": 30000,
    "guard": 30000,
    "answers": 8000,
    "duties": 15000,
    "proxy": 3000,
}


class FuzzTests(SynchronousTestCase):
    def search(self, *names: str) -> None:
        chosen = [target for target in TARGETS if target.name in names]
        self.assertEqual(len(chosen), len(names))
        for target in chosen:
            search = Search(target)
            search.run(OFTEN[target.name])
            self.assertEqual([str(finding) for finding in search.findings.values()], [])

    def test_every_target_has_its_turn(self) -> None:
        self.assertEqual({target.name for target in TARGETS}, set(OFTEN))
        self.assertLessEqual(set(FOUND), set(OFTEN))

    def test_what_was_found_once_is_borne(self) -> None:
        self.assertEqual([str(finding) for finding in replay(TARGETS, FOUND)], [])

    def test_a_conversation_of_smtp(self) -> None:
        self.search("smtp")

    def test_a_conversation_of_pop3(self) -> None:
        self.search("pop3")

    def test_a_mailbox_that_anybody_wrote(self) -> None:
        self.search("reading", "taking out", "journal", "saved index")

    def test_a_message_on_its_way_into_a_mailbox(self) -> None:
        self.search("letter", "names", "submitted", "bounces")

    def test_main_cf(self) -> None:
        self.search("main.cf")

    def test_the_other_files_that_people_write(self) -> None:
        self.search("devices", "aliases", "forward", "passwd-file", "certificates")

    def test_what_stands_in_one_command(self) -> None:
        self.search("addresses", "reports", "sasl", "questions")

    def test_what_comes_through_the_guard_s_channels(self) -> None:
        self.search("frames", "guard", "answers", "duties")

    def test_the_header_of_a_proxy(self) -> None:
        self.search("proxy")

    def test_a_certificate_that_only_openssl_cannot_read_is_a_warning(self) -> None:
        good = foreign("srv.lan.example")
        broken = good.certificate.public_bytes(Encoding.DER).replace(b"somebody", b"some\xadody")
        chain = Chain(good.key, pem(broken))
        judged = given.judge(GivenFiles("given"), lambda path: chain.text, plan(), NOW)
        self.assertEqual(judged.chains, ())
        self.assertRegex(
            judged.warnings[0], "OpenSSL does not take it .*utf8string.*; our own certificate serves in its place"
        )


class SearchTests(SynchronousTestCase):
    """The search itself finds what there is to find, and the same each time."""

    def test_it_finds_a_way_through_conditions_one_after_the_other(self) -> None:
        def judge(data: bytes) -> None:
            if b"MAIL" in data and b"RCPT" in data:
                raise RuntimeError("found")

        target = Target("x", judge, (b"MAIL\r\nDATA\r\n",), (b"RCPT",))
        found = []
        for _ in range(2):
            search = Search(target, seed=5)
            search.run(300)
            found.append({place: finding.data for place, finding in search.findings.items()})
        self.assertEqual(found[0], found[1])
        (finding,) = search.findings.values()
        self.assertIn("RuntimeError: found", finding.what)
        self.assertIn(shorter(target, finding).data, (b"MAILRCPT", b"RCPTMAIL"))

    def test_what_is_slow_is_found_too(self) -> None:
        self.patch(__import__("tests.fuzz.search", fromlist=["SLOW"]), "SLOW", 0.0)
        search = Search(Target("x", lambda data: None, (b"",)))
        self.assertEqual(list(search.findings), ["slow"])
