from __future__ import annotations

import datetime
import ipaddress
import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.tls.authority import RENEW_BEFORE, allowed, constraints_of, due, issue, make_authority
from lanmail.tls.certificate import Chain, common_name, fits, names_of
from tests.live import need
from tests.tls.made import ADDRESSES, DAY, NOW, authority, chain, plan


class AuthorityTests(SynchronousTestCase):
    def test_it_signs_servers_and_nothing_else_and_no_authorities(self) -> None:
        found = authority().certificate
        extensions = found.extensions
        basic = extensions.get_extension_for_class(x509.BasicConstraints)
        self.assertEqual((basic.critical, basic.value.ca, basic.value.path_length), (True, True, 0))
        usage = extensions.get_extension_for_class(x509.KeyUsage)
        self.assertTrue(usage.critical and usage.value.key_cert_sign and not usage.value.digital_signature)
        purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        self.assertEqual([one.dotted_string for one in purposes], ["1.3.6.1.5.5.7.3.1"])
        key = found.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        self.assertEqual(key.curve.name, "secp256r1")
        self.assertEqual(common_name(found), "lanmail authority of lan.example")
        self.assertTrue(fits(authority()))

    def test_its_constraints_are_critical_and_are_the_network_and_private_addresses(self) -> None:
        found = make_authority(
            plan(
                destinations=("lan.example", "club.example"), addresses=("192.168.1.10", "203.0.113.5", "2001:db8::1")
            ),
            NOW,
        ).certificate
        self.assertTrue(found.extensions.get_extension_for_class(x509.NameConstraints).critical)
        self.assertEqual(
            set(constraints_of(found)),
            {"lan.example", "club.example", "localhost", "203.0.113.5/32", "2001:db8::1/128"}
            | {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "127.0.0.0/8"}
            | {"fc00::/7", "fe80::/10", "::1/128"},
        )

    def test_it_may_sign_for_a_domain_and_what_lies_in_it(self) -> None:
        ca = authority().certificate
        for name in ("lan.example", "mail.lan.example", "a.b.lan.example", "localhost"):
            self.assertTrue(allowed(ca, name), name)
        for name in ("wlan.example", "example", "lan.example.org", "www.google.com", ""):
            self.assertFalse(allowed(ca, name), name)
        for address in ("10.1.2.3", "172.31.0.1", "192.168.77.1", "100.64.0.1", "169.254.1.1", "fe80::1", "fd12::1"):
            self.assertTrue(allowed(ca, ipaddress.ip_address(address)), address)
        for address in ("172.32.0.1", "100.128.0.1", "8.8.8.8", "2001:db8::1", "::2", "fe00::1"):
            self.assertFalse(allowed(ca, ipaddress.ip_address(address)), address)

    def test_a_domain_that_is_too_long_for_a_subject_is_cut_there_and_nowhere_else(self) -> None:
        domain = ".".join(["a" * 40] * 3) + ".example"
        long = plan(host=f"srv.{domain}", domain=domain)
        ca = make_authority(long, NOW)
        self.assertEqual(len(common_name(ca.certificate)), 64)
        made = issue(ca, long, NOW)
        self.assertEqual(made.left_out, ())
        self.assertEqual(common_name(made.chain.certificate), "localhost")
        self.assertIn(f"mail.{domain}", names_of(made.chain.certificate)[0])
        self.assertEqual(due(made.chain.certificate, ca.certificate, long, NOW), "")


class CertificateTests(SynchronousTestCase):
    def test_it_has_every_name_and_every_address(self) -> None:
        names, addresses = names_of(chain().certificate)
        self.assertEqual(names, plan().names)
        self.assertEqual({str(one) for one in addresses}, set(ADDRESSES))
        self.assertEqual(common_name(chain().certificate), "srv.lan.example")

    def test_it_is_for_servers_and_lasts_397_days_from_yesterday(self) -> None:
        found = chain().certificate
        purposes = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        self.assertEqual([one.dotted_string for one in purposes], ["1.3.6.1.5.5.7.3.1"])
        self.assertFalse(found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
        begin, end = found.not_valid_before_utc, found.not_valid_after_utc
        self.assertEqual(begin, NOW.replace(microsecond=0) - DAY)
        # Both its first and its last second count.
        self.assertEqual(end - begin + datetime.timedelta(seconds=1), 397 * DAY)

    def test_what_lies_outside_of_the_constraints_is_left_out_and_named(self) -> None:
        wanted = plan(host="srv.other.example", addresses=("192.168.1.10", "203.0.113.5"))
        made = issue(authority(), wanted, NOW)
        self.assertEqual(made.left_out, ("srv.other.example", "203.0.113.5"))
        names, addresses = names_of(made.chain.certificate)
        self.assertNotIn("srv.other.example", names)
        self.assertEqual([str(one) for one in addresses], ["192.168.1.10"])

    def test_it_does_not_outlive_its_authority_nor_begin_before_it(self) -> None:
        ca = authority().certificate
        late = issue(authority(), plan(), ca.not_valid_after_utc - 10 * DAY).chain.certificate
        self.assertEqual(late.not_valid_after_utc, ca.not_valid_after_utc)
        early = issue(authority(), plan(), ca.not_valid_before_utc).chain.certificate
        self.assertEqual(early.not_valid_before_utc, ca.not_valid_before_utc)

    def test_old_devices_get_an_rsa_key_that_may_also_be_encrypted_for(self) -> None:
        found = chain(for_old_devices=True)
        key = found.certificate.public_key()
        assert isinstance(key, rsa.RSAPublicKey)
        self.assertEqual(key.key_size, 2048)
        usage = found.certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        self.assertTrue(usage.key_encipherment and usage.digital_signature)
        self.assertTrue(fits(found))

    @settings(max_examples=25, deadline=None)
    @given(
        host=st.sampled_from(["srv.lan.example", "srv.other.example", "localhost", "LAN.example"]),
        domain=st.sampled_from(["lan.example", "other.example", "example"]),
        addresses=st.lists(st.ip_addresses().map(str), max_size=6),
    )
    def test_whatever_the_network_becomes_the_certificate_stays_within_its_authority(
        self, host: str, domain: str, addresses: list[str]
    ) -> None:
        wanted = plan(host=host, domain=domain, addresses=tuple(addresses))
        made = issue(authority(), wanted, NOW)
        names, found = names_of(made.chain.certificate)
        ca = authority().certificate
        self.assertTrue(all(allowed(ca, one) for one in (*names, *found)))
        self.assertEqual(
            {*names, *map(str, found), *made.left_out}, {*wanted.names, *(str(one) for one in wanted.addresses)}
        )
        self.assertEqual(due(made.chain.certificate, ca, wanted, NOW), "")


class DueTests(SynchronousTestCase):
    def due(self, now: datetime.datetime = NOW, **changed: object) -> str:
        return due(chain().certificate, authority().certificate, plan(**changed), now)  # type: ignore[arg-type]

    def test_a_new_one_is_not(self) -> None:
        self.assertEqual(self.due(), "")

    def test_it_is_thirty_days_before_its_end_and_not_earlier(self) -> None:
        end = chain().certificate.not_valid_after_utc
        self.assertEqual(self.due(end - RENEW_BEFORE - DAY), "")
        self.assertEqual(self.due(end - RENEW_BEFORE + DAY), f"it ends on {end:%Y-%m-%d}")
        self.assertIn("it ended", self.due(end + DAY))

    def test_it_is_when_names_or_addresses_come_or_go(self) -> None:
        self.assertEqual(
            self.due(addresses=(*ADDRESSES, "192.168.1.11", "10.0.0.1")), "it does not name 10.0.0.1, 192.168.1.11"
        )
        self.assertEqual(self.due(addresses=ADDRESSES[:3]), "it names fd00::10, which we are not any more")
        self.assertIn("it does not name other.lan.example", self.due(host="other.lan.example"))

    def test_what_could_not_be_in_it_anyhow_makes_no_difference(self) -> None:
        self.assertEqual(self.due(addresses=(*ADDRESSES, "203.0.113.5")), "")

    def test_it_is_when_the_clock_was_ahead_and_the_authority_is_older(self) -> None:
        ca = make_authority(plan(), NOW - 100 * DAY)
        ahead = issue(ca, plan(), NOW + 50 * DAY).chain.certificate
        self.assertIn("it begins only on", due(ahead, ca.certificate, plan(), NOW))
        # With an authority that begins as late, a new certificate would not be better.
        self.assertEqual(self.due(NOW - 50 * DAY), "")

    def test_another_authoritys_is(self) -> None:
        other = make_authority(plan(), NOW).certificate
        self.assertEqual(due(chain().certificate, other, plan(), NOW), "another authority signed it")

    def test_at_the_end_of_its_authority_it_is_not_made_anew_at_every_look(self) -> None:
        ca = authority().certificate
        now = ca.not_valid_after_utc - 10 * DAY
        last = issue(authority(), plan(), now).chain.certificate
        self.assertEqual(due(last, ca, plan(), now), "")


class OpensslTests(SynchronousTestCase):
    """The program judges what the library made."""

    def verify(self, *arguments: str, certificate: Chain | None = None) -> str:
        need("openssl")
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "ca.pem").write_bytes(authority().certificates)
        (folder / "own.pem").write_bytes((certificate or chain()).certificates)
        command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "ca.pem"]
        done = subprocess.run([*command, *arguments, "own.pem"], cwd=folder, capture_output=True, text=True)
        return "OK" if done.returncode == 0 else done.stdout + done.stderr

    def test_it_is_valid_for_each_of_its_names_and_addresses(self) -> None:
        for name in plan().names:
            self.assertEqual(self.verify("-verify_hostname", name), "OK", name)
        for address in ADDRESSES:
            self.assertEqual(self.verify("-verify_ip", address), "OK", address)
        self.assertEqual(self.verify("-verify_ip", ADDRESSES[0], certificate=chain(for_old_devices=True)), "OK")

    def test_it_is_not_for_others(self) -> None:
        self.assertIn("hostname mismatch", self.verify("-verify_hostname", "www.example.com"))
        self.assertIn("IP address mismatch", self.verify("-verify_ip", "192.168.1.11"))

    def test_a_stolen_authority_opens_no_other_site(self) -> None:
        """What a thief would sign with it: the constraints are the clients' to keep, and they do."""
        thief = plan(host="www.bank.example", domain="bank.example")
        forged = issue(Chain(authority().key, _without_constraints(authority())), thief, NOW).chain
        self.assertIn("permitted subtree violation", self.verify(certificate=forged))

    def test_one_name_outside_would_make_it_invalid_for_all(self) -> None:
        forged = issue(
            Chain(authority().key, _without_constraints(authority())), plan(addresses=("203.0.113.5",)), NOW
        ).chain
        self.assertIn("permitted subtree violation", self.verify("-verify_hostname", "lan.example", certificate=forged))


def _without_constraints(ca: Chain) -> bytes:
    """The certificate of that authority, made once more by its own key and without them."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

    old = ca.certificate
    key = load_pem_private_key(ca.key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    builder = (
        x509.CertificateBuilder()
        .subject_name(old.subject)
        .issuer_name(old.issuer)
        .public_key(old.public_key())
        .serial_number(1)
        .not_valid_before(old.not_valid_before_utc)
        .not_valid_after(old.not_valid_after_utc)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(old.public_key()), critical=False)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
