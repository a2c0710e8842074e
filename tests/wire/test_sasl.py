"""PLAIN and LOGIN: what a client may send, and that nothing it sends is more than a SaslError."""

from __future__ import annotations

import base64

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.wire.sasl import MECHANISMS, Challenge, Claim, Exchange, SaslError


def b64(octets: bytes) -> bytes:
    return base64.b64encode(octets)


class PlainTests(SynchronousTestCase):
    def test_an_initial_response_is_a_claim(self) -> None:
        self.assertEqual(Exchange("plain").begin(b64(b"\0julien\0secret")), Claim(b"julien", b"secret"))

    def test_without_one_the_client_is_asked(self) -> None:
        exchange = Exchange("PLAIN")
        self.assertEqual(exchange.begin(None), Challenge(b""))
        self.assertEqual(exchange.respond(b64(b"julien\0julien\0se cret")), Claim(b"julien", b"se cret"))

    def test_nobody_acts_for_another(self) -> None:
        with self.assertRaises(SaslError):
            Exchange("PLAIN").begin(b64(b"root\0julien\0secret"))

    def test_what_makes_no_sense_is_an_error_and_never_a_claim(self) -> None:
        bad = [b"=", b"", b"!!!", b64(b"")[:-1] + b"x", b"AGp1bGll", b64(b"julien\0secret"), b64(b"\0\0\0")]
        bad += [b64(b"\0julien\0"), b64(b"\0\0secret"), b64(b"\0julien\0sec\0ret"), b"AA==AA==", "ü".encode()]
        for response in bad:
            with self.assertRaises(SaslError, msg=str(response)):
                Exchange("PLAIN").begin(response)


class LoginTests(SynchronousTestCase):
    def test_name_and_password_are_asked_for_in_the_words_that_outlook_waits_for(self) -> None:
        exchange = Exchange("Login")
        self.assertEqual(exchange.begin(None), Challenge(b"Username:"))
        self.assertEqual(exchange.respond(b64(b"nel")), Challenge(b"Password:"))
        self.assertEqual(exchange.respond(b64(b"secret")), Claim(b"nel", b"secret"))

    def test_the_name_may_come_with_the_command(self) -> None:
        exchange = Exchange("LOGIN")
        self.assertEqual(exchange.begin(b64(b"nel")), Challenge(b"Password:"))

    def test_an_empty_name_or_password_is_an_error(self) -> None:
        exchange = Exchange("LOGIN")
        exchange.begin(b"=")
        with self.assertRaises(SaslError):
            exchange.respond(b64(b"secret"))
        exchange = Exchange("LOGIN")
        exchange.begin(b64(b"nel"))
        with self.assertRaises(SaslError):
            exchange.respond(b"")

    def test_a_nul_is_in_no_name(self) -> None:
        exchange = Exchange("LOGIN")
        exchange.begin(b64(b"n\0el"))
        with self.assertRaises(SaslError):
            exchange.respond(b64(b"secret"))


class ExchangeTests(SynchronousTestCase):
    def test_other_mechanisms_are_not_known(self) -> None:
        for name in ("CRAM-MD5", "", "PLAIN\0", "PLA\u0131N", "EXTERNAL"):
            with self.assertRaises(KeyError):
                Exchange(name)

    def test_a_claim_does_not_show_its_password(self) -> None:
        self.assertNotIn("secret", repr(Claim(b"julien", b"secret")))
        self.assertNotIn("secret", f"{Claim(b'julien', b'secret')}")

    @given(st.sampled_from(MECHANISMS), st.lists(st.binary(max_size=30) | st.binary(max_size=20).map(b64), max_size=3))
    @settings(max_examples=300, deadline=None)
    def test_whatever_comes_is_a_challenge_a_claim_or_an_error(self, mechanism: str, lines: list[bytes]) -> None:
        exchange = Exchange(mechanism)
        step = exchange.begin(None)
        for line in lines:
            if isinstance(step, Claim):
                break
            try:
                step = exchange.respond(line)
            except SaslError:
                break
        if isinstance(step, Claim):
            self.assertTrue(step.username and step.password)
