from __future__ import annotations

import contextlib
import gc
import weakref

from OpenSSL import SSL
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.trial.unittest import SynchronousTestCase

from lanmail.tls.certificate import Chain
from lanmail.tls.contexts import ServerTls, Spoken, spoken
from lanmail.tls.openssl import CannotServe, Versions, check_old
from tests.tls.made import authority, chain, foreign
from tests.tls.toy import ToyFactory


class Client:
    """OpenSSL's own client at the other end of a transport in memory."""

    def __init__(
        self,
        toy: ToyFactory,
        lowest: int = SSL.TLS1_2_VERSION,
        highest: int = SSL.TLS1_3_VERSION,
        ciphers: bytes = b"ALL",
    ) -> None:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(lowest)
        context.set_max_proto_version(highest)
        context.set_cipher_list(ciphers + b":@SECLEVEL=0")
        self.tls = SSL.Connection(context, None)
        self.tls.set_connect_state()
        self.server = toy.wrapped.buildProtocol(None)
        self.wire = StringTransportWithDisconnection()
        self.wire.protocol = self.server
        self.wire.abortConnection = self.wire.loseConnection
        self.server.makeConnection(self.wire)

    def step(self) -> None:
        """Both sides say what they have to say."""
        with contextlib.suppress(SSL.WantReadError):
            self.tls.do_handshake()
        with contextlib.suppress(SSL.WantReadError):
            self.server.dataReceived(self.tls.bio_read(1 << 16))
        self.hear()

    def hear(self) -> None:
        if said := self.wire.value():
            self.tls.bio_write(said)
            self.wire.clear()

    def shake_hands(self) -> Client:
        for _ in range(5):
            self.step()
        return self

    @property
    def agreed(self) -> Spoken | None:
        cipher = self.tls.get_cipher_name()
        return Spoken(self.tls.get_protocol_version_name(), cipher) if cipher else None


class ContextTests(SynchronousTestCase):
    def toy(self, *chains: Chain, versions: Versions = Versions.TODAY) -> ToyFactory:
        self.clock = Clock()
        return ToyFactory(self.clock, chains, versions)

    def test_both_sides_know_what_was_agreed_on(self) -> None:
        client = Client(self.toy()).shake_hands()
        self.assertEqual(client.agreed, Spoken("TLSv1.3", client.tls.get_cipher_name() or ""))
        self.assertEqual(spoken(client.server), client.agreed)
        self.assertIsNone(spoken(client.wire))
        self.assertIsNone(spoken(object()))

    def test_before_the_handshake_nothing_was_agreed_on(self) -> None:
        self.assertIsNone(spoken(Client(self.toy()).server))

    def test_a_client_of_tls_1_2_gets_a_cipher_with_forward_secrecy(self) -> None:
        for mine in (chain(), foreign("lan.example", bits=2048)):
            agreed = Client(self.toy(mine), highest=SSL.TLS1_2_VERSION).shake_hands().agreed
            assert agreed is not None
            self.assertRegex(agreed.cipher, r"\AECDHE-(ECDSA|RSA)-(AES\d+-GCM|CHACHA20)")

    def test_older_versions_are_refused(self) -> None:
        toy = self.toy()
        for version in (SSL.TLS1_VERSION, SSL.TLS1_1_VERSION):
            with self.assertRaises(SSL.Error):
                Client(toy, lowest=version, highest=version).shake_hands()

    def test_ciphers_of_yesterday_are_refused(self) -> None:
        toy = self.toy(foreign("lan.example", bits=2048))
        for cipher in (b"AES128-SHA", b"AES128-GCM-SHA256", b"ECDHE-RSA-AES128-SHA", b"DHE-RSA-AES128-GCM-SHA256"):
            with self.assertRaises(SSL.Error, msg=cipher):
                Client(toy, highest=SSL.TLS1_2_VERSION, ciphers=cipher).shake_hands()

    def test_one_version_can_be_all_there_is(self) -> None:
        agreed = Client(self.toy(versions=Versions.ONLY_1_2)).shake_hands().agreed
        self.assertEqual(agreed and agreed.version, "TLSv1.2")
        with self.assertRaises(SSL.Error):
            Client(self.toy(versions=Versions.ONLY_1_3), highest=SSL.TLS1_2_VERSION).shake_hands()

    def test_old_devices_are_served_where_that_was_asked_for(self) -> None:
        toy = self.toy(chain(), chain(for_old_devices=True), versions=Versions.OLD)
        for version, name in ((SSL.TLS1_VERSION, "TLSv1"), (SSL.TLS1_1_VERSION, "TLSv1.1")):
            agreed = Client(toy, lowest=version, highest=version).shake_hands().agreed
            self.assertEqual(agreed and agreed.version, name)
        agreed = Client(toy).shake_hands().agreed
        self.assertEqual(agreed and agreed.version, "TLSv1.3")

    def test_an_openssl_without_tls_1_0_cannot_serve_them(self) -> None:
        from lanmail.tls import openssl

        whole = openssl.make_context
        # As a build with no-tls1 behaves: the version is accepted, and never spoken.
        self.patch(openssl, "make_context", lambda chains, _versions: whole(chains, Versions.TODAY))
        with self.assertRaises(CannotServe) as caught:
            check_old(chain())
        self.assertRegex(str(caught.exception), r"\Atls_legacy_clients: OpenSSL [0-9.]+.* has no TLS 1\.0 any more\Z")

    def test_a_replaced_certificate_is_shown_to_the_next_and_the_others_stay(self) -> None:
        toy = self.toy(chain())
        before = Client(toy).shake_hands()
        other = foreign("lan.example")
        toy.tls.use([other])
        after = Client(toy).shake_hands()
        shown = [one.tls.get_peer_certificate().to_cryptography() for one in (before, after)]
        self.assertEqual(shown, [chain().certificate, other.certificate])
        before.tls.send(b"NOOP still here\r\n")
        before.step()
        self.clock.advance(0)  # Twisted gathers small writes for the rest of a turn
        before.hear()
        self.assertIn(b"250 NOOP still here", before.tls.recv(1000))

    def test_one_that_cannot_be_served_changes_nothing(self) -> None:
        toy = self.toy()
        for broken in (foreign("lan.example", bits=1024), Chain(authority().key, chain().certificates)):
            with self.assertRaises(CannotServe):
                toy.tls.use([broken])
        shown = Client(toy).shake_hands().tls.get_peer_certificate().to_cryptography()
        self.assertEqual(shown, chain().certificate)

    def test_those_between_are_sent_too(self) -> None:
        mine = foreign("lan.example")
        client = Client(self.toy(Chain(mine.key, mine.certificates + authority().certificates))).shake_hands()
        sent = [one.to_cryptography() for one in client.tls.get_peer_cert_chain() or ()]
        self.assertEqual(sent, [mine.certificate, authority().certificate])

    def test_nothing_is_renegotiated(self) -> None:
        client = Client(self.toy(versions=Versions.ONLY_1_2)).shake_hands()
        client.tls.renegotiate()
        with self.assertRaises(SSL.Error):
            for _ in range(5):
                client.step()


class HandshakeLimitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.toy = ToyFactory(self.clock, handshake_limit=30.0)

    def test_a_client_that_says_nothing_is_cut_off(self) -> None:
        client = Client(self.toy)
        self.clock.advance(29)
        self.assertTrue(client.wire.connected)
        self.clock.advance(2)
        self.assertFalse(client.wire.connected)
        self.assertEqual(self.toy.lost, 1)

    def test_so_is_one_that_says_a_little_at_a_time(self) -> None:
        client = Client(self.toy)
        with contextlib.suppress(SSL.WantReadError):
            client.tls.do_handshake()
        hello = client.tls.bio_read(1 << 16)
        for position in range(30):
            self.assertTrue(client.wire.connected)
            client.server.dataReceived(hello[position : position + 1])
            self.clock.advance(1)
        self.assertFalse(client.wire.connected)

    def test_one_that_is_done_has_all_the_time_of_its_session(self) -> None:
        client = Client(self.toy).shake_hands()
        self.clock.advance(3600)
        self.assertTrue(client.wire.connected)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_that_left_is_not_kept_in_memory(self) -> None:
        client = Client(self.toy)
        server = weakref.ref(client.server)
        client.wire.loseConnection()
        self.clock.advance(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        del client
        gc.collect()
        self.assertIsNone(server())

    def test_garbage_in_place_of_a_handshake_ends_it(self) -> None:
        client = Client(self.toy)
        client.server.dataReceived(b"GET / HTTP/1.0\r\n\r\n")
        self.assertFalse(client.wire.connected)


class CreatorTests(SynchronousTestCase):
    def test_twisted_takes_it_for_what_it_is(self) -> None:
        from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
        from zope.interface.verify import verifyObject

        tls = ServerTls([chain()], Versions.TODAY, clock=Clock(), handshake_limit=1.0)
        self.assertTrue(verifyObject(IOpenSSLServerConnectionCreator, tls))
