from __future__ import annotations

import os
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from lanmail.tls.certificate import Chain
from lanmail.tls.given import DoesNotFit, Given, GivenFiles, judge, signature
from tests.live import need
from tests.tls.made import DAY, NOW, authority, foreign, plan

PAIR = GivenFiles("/cert", "/key")


class GivenTests(SynchronousTestCase):
    def judge(self, files: GivenFiles, **texts: bytes) -> Given:
        def read(path: str) -> bytes:
            try:
                return texts[path.removeprefix("/")]
            except KeyError:
                raise FileNotFoundError(2, "No such file or directory", path) from None

        return judge(files, read, plan(), NOW)

    def pair(self, chain: Chain) -> Given:
        return self.judge(PAIR, cert=chain.certificates, key=chain.key)

    def refused(self, given: Given) -> str:
        """Why ours serves."""
        self.assertEqual(given.chains, ())
        (warning,) = given.warnings
        self.assertTrue(warning.endswith("; our own certificate serves in its place"), warning)
        return warning.removesuffix("; our own certificate serves in its place")

    def test_a_good_pair_serves_without_a_word(self) -> None:
        mine = foreign("mail.lan.example")
        self.assertEqual(self.pair(mine), Given((mine,)))

    def test_its_file_may_hold_the_key_too_and_those_between(self) -> None:
        mine = foreign("srv.lan.example")
        between = authority().certificates
        given = self.judge(GivenFiles("/both", "/both"), both=mine.certificates + between + mine.key)
        self.assertEqual(given, Given((Chain(mine.key, mine.certificates + between),)))
        self.assertEqual(self.judge(GivenFiles("/both"), both=mine.text), Given((mine,)))

    def test_nothing_given_is_nothing_to_speak_of(self) -> None:
        self.assertEqual(self.judge(GivenFiles()), Given())
        self.assertEqual(self.judge(GivenFiles(key="/key")), Given())

    def test_a_missing_file_is_a_warning(self) -> None:
        mine = foreign("mail.lan.example")
        self.assertEqual(
            self.refused(self.judge(PAIR, key=mine.key)), "smtpd_tls_cert_file: /cert: No such file or directory"
        )
        self.assertEqual(
            self.refused(self.judge(PAIR, cert=mine.certificates)),
            "smtpd_tls_key_file: /key: No such file or directory",
        )

    def test_an_unreadable_one_is_a_warning(self) -> None:
        mine = foreign("mail.lan.example")
        self.assertEqual(
            self.refused(self.judge(PAIR, cert=b"nonsense", key=mine.key)),
            "smtpd_tls_cert_file: /cert: no certificate in it",
        )
        self.assertEqual(
            self.refused(self.judge(PAIR, cert=mine.certificates, key=b"")),
            "smtpd_tls_key_file: /key: no private key in it",
        )
        broken = mine.certificates[:200] + b"!" + mine.certificates[201:]
        self.assertIn("no certificate in it", self.refused(self.judge(PAIR, cert=broken, key=mine.key)))

    def test_a_key_behind_a_password_is_a_warning_that_says_so(self) -> None:
        need("openssl")
        mine = foreign("mail.lan.example")
        command = ["openssl", "pkcs8", "-topk8", "-passout", "pass:secret"]
        locked = subprocess.run(command, input=mine.key, capture_output=True, check=True).stdout
        said = self.refused(self.judge(PAIR, cert=mine.certificates, key=locked))
        self.assertIn("its key is encrypted", said)

    def test_an_ended_one_and_one_that_has_not_begun_are_warnings(self) -> None:
        old = foreign("mail.lan.example", begin=NOW - 90 * DAY, end=NOW - DAY)
        self.assertEqual(self.refused(self.pair(old)), f"smtpd_tls_cert_file: /cert: it ended on {NOW - DAY:%Y-%m-%d}")
        new = foreign("mail.lan.example", begin=NOW + DAY)
        self.assertIn("it begins only on", self.refused(self.pair(new)))

    def test_one_of_other_names_is_a_warning_that_says_of_whom_it_is(self) -> None:
        self.assertEqual(
            self.refused(self.pair(foreign("www.example.com", "localhost"))),
            "smtpd_tls_cert_file: /cert: it is for www.example.com, localhost, and clients look for srv.lan.example",
        )
        self.assertIn("it is for nobody", self.refused(self.pair(foreign())))
        self.assertIn("it is for *.com", self.refused(self.pair(foreign("*.com"))))

    def test_any_name_or_address_that_clients_try_will_do(self) -> None:
        for mine in (
            foreign("lan.example"),
            foreign("*.lan.example"),
            foreign("www.example.com", "pop3.lan.example"),
            foreign(addresses=("192.168.1.10",)),
        ):
            self.assertEqual(self.pair(mine), Given((mine,)))
        self.assertIn("it is for 127.0.0.1", self.refused(self.pair(foreign(addresses=("127.0.0.1",)))))

    def test_a_key_that_does_not_fit_is_an_error(self) -> None:
        mine, other = foreign("mail.lan.example"), foreign("mail.lan.example")
        with self.assertRaises(DoesNotFit) as caught:
            self.judge(PAIR, cert=mine.certificates, key=other.key)
        self.assertEqual(
            str(caught.exception), "smtpd_tls_cert_file: the private key does not fit the certificate in /cert"
        )

    def test_one_that_openssl_would_not_serve_is_a_warning(self) -> None:
        said = self.refused(self.pair(foreign("mail.lan.example", bits=1024)))
        self.assertIn("OpenSSL does not take it (", said)
        self.assertIn("key too small", said)

    def test_chain_files_are_one_text_of_keys_each_before_its_certificates(self) -> None:
        first, second = foreign("mail.lan.example"), foreign("mail.lan.example", bits=2048)
        files = GivenFiles("/ignored", "/ignored", ("/a", "/b", "/c"))
        given = self.judge(files, a=first.text, b=second.key, c=second.certificates)
        self.assertEqual(given, Given((first, second)))

    def test_of_several_the_good_ones_serve_and_the_others_are_told(self) -> None:
        good, old = foreign("mail.lan.example"), foreign("mail.lan.example", begin=NOW - 9 * DAY, end=NOW - DAY)
        given = self.judge(GivenFiles(chain_files=("/a",)), a=good.text + old.text)
        self.assertEqual(given.chains, (good,))
        self.assertEqual(given.warnings, (f"smtpd_tls_chain_files: /a: it ended on {NOW - DAY:%Y-%m-%d}",))

    def test_a_missing_chain_file_gives_no_key_to_anothers_certificates(self) -> None:
        first, second = foreign("mail.lan.example"), foreign("mail.lan.example")
        files = GivenFiles(chain_files=("/a", "/missing", "/c"))
        self.assertIn("/missing: No such file", self.refused(self.judge(files, a=first.key, c=second.certificates)))
        self.assertIn("no private key", self.refused(self.judge(GivenFiles(chain_files=("/a",)), a=b"")))

    def test_the_files_that_are_read_are_named_once(self) -> None:
        self.assertEqual(GivenFiles("/a", "/a").paths, ("/a",))
        self.assertEqual(GivenFiles("/a").paths, ("/a",))
        self.assertEqual(GivenFiles("/a", "/b", ("/c",)).paths, ("/c",))
        self.assertEqual(GivenFiles("", "/b").paths, ())


class SignatureTests(SynchronousTestCase):
    def test_it_differs_when_a_link_leads_to_another_file(self) -> None:
        """As certbot renews: live/NAME/fullchain.pem is a link to the newest of archive/NAME."""
        folder = Path(self.mktemp())
        folder.mkdir()
        for name in ("one", "two"):
            (folder / name).write_text("the same")
            os.utime(folder / name, (1, 1))
        link = folder / "live"
        link.symlink_to("one")
        before = signature([str(link)])
        self.assertEqual(signature([str(link)]), before)
        link.unlink()
        self.assertNotEqual(signature([str(link)]), before)
        link.symlink_to("two")
        self.assertNotEqual(signature([str(link)]), before)
