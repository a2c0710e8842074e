from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lanmail.tls.certificate import (
    Chain,
    NotACertificate,
    chains_in,
    covers,
    fingerprint,
    fits,
    names_of,
)
from tests.tls.made import authority, chain, foreign


class ChainTests(SynchronousTestCase):
    def test_each_key_gets_the_certificates_that_follow_it(self) -> None:
        first, second, ca = chain(), foreign("a.example"), authority().certificates
        text = b"Bag Attributes\n" + first.text + ca + b"\n\nAnother one:\r\n" + second.text
        found = chains_in(text)
        self.assertEqual(found, [Chain(first.key, first.certificates + ca), second])
        self.assertEqual(found[1].certificate, second.certificate)

    def test_certificates_before_every_key_are_nobodys(self) -> None:
        self.assertEqual(chains_in(authority().certificates + chain().text), [chain()])
        self.assertEqual(chains_in(authority().certificates), [])

    def test_a_key_fits_its_own_certificate_alone(self) -> None:
        self.assertTrue(fits(chain()))
        self.assertFalse(fits(Chain(authority().key, chain().certificates)))
        self.assertFalse(fits(Chain(foreign(bits=2048).key, chain().certificates)))

    def test_what_cannot_be_read_says_so_and_shows_nothing_of_it(self) -> None:
        broken = chain().key.replace(b"\nM", b"\nX", 1)
        with self.assertRaises(NotACertificate) as caught:
            fits(Chain(broken, chain().certificates))
        self.assertEqual(str(caught.exception), "its key cannot be read")
        with self.assertRaises(NotACertificate):
            fits(Chain(chain().key, b""))

    def test_a_key_shows_in_no_text_of_the_chain(self) -> None:
        self.assertNotIn("PRIVATE", repr(chain()))

    def test_a_star_stands_for_one_label(self) -> None:
        self.assertTrue(covers("*.lan.example", "mail.lan.example"))
        self.assertFalse(covers("*.lan.example", "lan.example"))
        self.assertFalse(covers("*.lan.example", "a.mail.lan.example"))
        self.assertFalse(covers("mail.lan.example", "smtp.lan.example"))

    def test_names_and_addresses_are_those_of_the_extension(self) -> None:
        names, addresses = names_of(foreign("A.example", addresses=("192.168.1.10", "fd00::1")).certificate)
        self.assertEqual((names, [str(one) for one in addresses]), (("a.example",), ["192.168.1.10", "fd00::1"]))
        self.assertEqual(names_of(foreign().certificate), ((), ()))

    def test_a_fingerprint_is_what_mail_programs_show(self) -> None:
        self.assertRegex(fingerprint(chain().certificate), r"\A(?:[0-9A-F]{2}:){31}[0-9A-F]{2}\Z")
