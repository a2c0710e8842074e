"""Which certificate is served, and what makes it another; with files that somebody else opens, as root's guard does."""

from __future__ import annotations

import datetime
import errno
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lanmail.files import open_plainly, read_whole
from lanmail.tls.certificate import Chain
from lanmail.tls.contexts import ServerTls
from lanmail.tls.given import DoesNotFit, GivenFiles
from lanmail.tls.keeping import KeepingTrouble, Kept
from lanmail.tls.openssl import Versions, step
from lanmail.tls.serving import Certificates
from tests.tls.made import DAY, NOW, authority, chain, foreign, plan

P = ParamSpec("P")
T = TypeVar("T")
_DER = Encoding.DER


class ServingTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        self.file = folder / "both.pem"
        self.lines: list[str] = []
        self.opened: list[str] = []
        self.in_the_thread = False
        self.error: OSError | None = None
        self.kept = Kept(chain(), chain(for_old_devices=True), authority().certificate, (), ())

    # what the certificates are handed

    def report(self, text: str, /, **fields: object) -> None:
        self.lines.append(text.format(**fields))

    def open(self, path: str) -> int:
        self.opened.append(path)
        if self.error:
            raise self.error
        return open_plainly(path)

    def read(self, path: str) -> bytes:
        return read_whole(path, self.open, 1 << 20)

    def keep(self, _now: datetime.datetime) -> Kept:
        return self.kept

    def in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
        self.in_the_thread = True
        try:
            return succeed(work(*args, **kwargs))
        finally:
            self.in_the_thread = False

    def certificates(self, given: bool = True, old: bool = False) -> Certificates:
        files = GivenFiles(str(self.file)) if given else GivenFiles()
        return Certificates(
            *(files, self.read, plan, self.keep, self.report),
            opened=self.open,
            clock=Clock(),
            versions=Versions.TODAY,
            mandatory_versions=Versions.ONLY_1_3,
            handshake_limit=60,
            old=old,
        )

    def put(self, chain: Chain) -> None:
        """As certbot does: another file, and then its name."""
        draft = self.file.with_suffix(".new")
        draft.write_bytes(chain.text)
        os.replace(draft, self.file)

    def look(self, certificates: Certificates, due: bool = False) -> None:
        coroutine = certificates.look(self.in_thread) if due else certificates.look_if_changed(self.in_thread)
        self.successResultOf(ensureDeferred(coroutine))

    def shown(self, tls: ServerTls | None, cipher: bytes = b"ALL", old: bool = False) -> bytes:
        """The certificate that a client sees; DER."""
        assert tls is not None
        server, client = SSL.Connection(tls._context, None), SSL.Connection(_client(cipher, old), None)
        server.set_accept_state()
        client.set_connect_state()
        for _ in range(6):
            for one, other in ((client, server), (server, client)):
                step(one, other)
        certificate = client.get_peer_certificate()
        assert certificate is not None
        return certificate.to_cryptography().public_bytes(_DER)

    def assert_serves(self, certificates: Certificates, chain: Chain) -> None:
        der = chain.certificate.public_bytes(_DER)
        self.assertEqual([self.shown(one) for one in (certificates.clear, certificates.mandatory)], [der, der])

    # the tests

    def test_ours_serves_where_none_is_given_and_nothing_is_opened_for_that(self) -> None:
        certificates = self.certificates(given=False)
        self.assert_serves(certificates, chain())
        self.look(certificates)
        self.assertEqual((self.opened, self.lines), ([], []))

    def test_a_given_one_serves_and_a_newer_one_as_soon_as_it_is_there(self) -> None:
        first, second = foreign("mail.lan.example"), foreign("mail.lan.example")
        self.put(first)
        certificates = self.certificates()
        self.assert_serves(certificates, first)
        self.look(certificates)
        self.assert_serves(certificates, first)
        self.put(second)
        self.look(certificates)
        self.assert_serves(certificates, second)
        self.assertEqual(self.lines, ["another certificate is served from now on"])

    def test_what_did_not_change_is_opened_once_to_be_looked_at_and_not_read(self) -> None:
        self.put(foreign("mail.lan.example"))
        certificates = self.certificates()
        self.opened.clear()
        self.look(certificates)
        self.assertEqual(len(self.opened), 1)

    def test_everything_that_opens_is_in_a_thread_once_the_service_runs(self) -> None:
        self.put(foreign("mail.lan.example"))
        certificates = self.certificates()
        where: list[bool] = []
        self.patch(self, "open", lambda path: where.append(self.in_the_thread) or open_plainly(path))
        certificates._open = self.open
        for due in (False, True):
            self.look(certificates, due)
        self.assertEqual(set(where), {True})

    def test_two_looks_do_not_meet(self) -> None:
        certificates = self.certificates()
        waiting: list[Deferred[object]] = []

        def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
            waiting.append(Deferred())
            return waiting[-1].addCallback(lambda _: work(*args, **kwargs))  # type: ignore[return-value]

        looks = [ensureDeferred(look(in_thread)) for look in (certificates.look, certificates.look_if_changed)]
        self.assertEqual(len(waiting), 1)
        waiting[0].callback(None)
        self.assertEqual(len(waiting), 2)
        waiting[1].callback(None)
        for look in looks:
            self.successResultOf(look)

    def test_a_key_that_does_not_fit_ends_the_start_and_changes_nothing_later(self) -> None:
        good, wrong = foreign("mail.lan.example"), Chain(foreign().key, foreign("mail.lan.example").certificates)
        self.put(wrong)
        self.assertRaises(DoesNotFit, self.certificates)
        self.put(good)
        certificates = self.certificates()
        self.put(wrong)
        for _ in range(3):
            self.look(certificates)
        self.assert_serves(certificates, good)
        (line,) = self.lines
        self.assertIn("warning: the certificate stays as it was: smtpd_tls_cert_file: the private key does not", line)

    def test_ours_serves_from_the_day_that_a_given_one_has_ended_or_is_gone(self) -> None:
        self.put(foreign("mail.lan.example"))
        certificates = self.certificates()
        self.put(foreign("mail.lan.example", begin=NOW - 9 * DAY, end=NOW - DAY))
        self.look(certificates, due=True)
        self.assert_serves(certificates, chain())
        self.put(foreign("mail.lan.example"))
        self.look(certificates)
        os.unlink(self.file)
        self.look(certificates)
        self.assert_serves(certificates, chain())
        self.assertIn("No such file or directory; our own certificate serves in its place", self.lines[-2])

    def test_a_guard_that_does_not_answer_says_nothing_of_the_certificate(self) -> None:
        given, later = foreign("mail.lan.example"), foreign("mail.lan.example")
        self.put(given)
        certificates = self.certificates()
        self.put(later)
        self.error = OSError(errno.EIO, "no answer within 10 s", str(self.file))
        for due in (False, True, False, False):
            self.look(certificates, due)
            self.assert_serves(certificates, given)
        expected = f"warning: the certificate stays as it was: {self.file}: no answer within 10 s"
        self.assertEqual(self.lines, [expected])
        self.error = None
        self.look(certificates)
        self.assert_serves(certificates, later)

    def test_nor_does_it_keep_the_service_from_starting_and_the_next_look_tries_again(self) -> None:
        given = foreign("mail.lan.example")
        self.put(given)
        self.error = OSError(errno.EMFILE, "Too many open files", str(self.file))
        certificates = self.certificates()
        self.assert_serves(certificates, chain())
        self.assertIn("Too many open files; our own certificate serves in its place", self.lines[0])
        self.error = None
        self.look(certificates)
        self.assert_serves(certificates, given)

    def test_trouble_with_our_own_is_told_once_and_what_was_served_goes_on(self) -> None:
        certificates = self.certificates(given=False)

        def keep(_now: datetime.datetime) -> Kept:
            raise KeepingTrouble("the disk is full")

        certificates._keep = keep
        for _ in range(2):
            self.look(certificates, due=True)
        self.assertEqual(self.lines, ["warning: the certificate stays as it was: the disk is full"])
        self.assert_serves(certificates, chain())

    # old devices

    def test_old_devices_have_a_context_of_their_own_and_only_where_it_is_asked_for(self) -> None:
        self.assertIsNone(self.certificates(given=False).old_devices)
        certificates = self.certificates(given=False, old=True)
        der = chain(for_old_devices=True).certificate.public_bytes(_DER)
        self.assertEqual(self.shown(certificates.old_devices, b"AES128-SHA:@SECLEVEL=0", old=True), der)
        self.assert_serves(certificates, chain())

    def test_they_are_shown_ours_where_the_given_one_has_a_key_that_they_may_not_know(self) -> None:
        given = foreign("mail.lan.example")
        self.put(given)
        certificates = self.certificates(old=True)
        der = chain(for_old_devices=True).certificate.public_bytes(_DER)
        self.assertEqual(self.shown(certificates.old_devices), der)
        self.assert_serves(certificates, given)

    def test_and_the_given_one_where_it_has_an_rsa_key(self) -> None:
        given = foreign("mail.lan.example", bits=2048)
        self.put(given)
        certificates = self.certificates(old=True)
        self.assertEqual(self.shown(certificates.old_devices), given.certificate.public_bytes(_DER))

    def test_a_signer_that_made_none_for_them_is_trouble(self) -> None:
        self.kept = Kept(chain(), None, authority().certificate, (), ())
        self.assertRaises(KeepingTrouble, self.certificates, given=False, old=True)


def _client(cipher: bytes, old: bool) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if old:
        context.set_min_proto_version(SSL.TLS1_VERSION)
        context.set_max_proto_version(SSL.TLS1_VERSION)
    context.set_cipher_list(cipher)
    return context
