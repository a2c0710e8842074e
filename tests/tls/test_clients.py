"""Programs that we did not write, with verification on: they accept our certificate by each of its names and addresses, and no other."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, TestCase

from lanmail.tls.contexts import Spoken
from lanmail.tls.openssl import Versions
from tests.live import need
from tests.tls.made import authority, chain, foreign
from tests.tls.toy import ToyFactory

NAME = "mail.lan.example"
PATIENCE = 20


class ClientsTests(TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).resolve()
        self.folder.mkdir()
        self.ca = self.folder / "ca.pem"
        self.ca.write_bytes(authority().certificates)
        self.toy = ToyFactory(reactor)

    def listen(self, *, wrapped: bool = True, interface: str = "127.0.0.1") -> int:
        """The port. wrapped: under TLS from the start."""
        try:
            port = reactor.listenTCP(0, self.toy.wrapped if wrapped else self.toy, interface=interface)
        except Exception as error:
            raise SkipTest(f"this machine has no {interface}") from error
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    def run_it(self, *command: str, said: str = "") -> Deferred[subprocess.CompletedProcess[str]]:
        """A program with ``said`` at its standard input. (In a thread: the server needs ours.)"""
        need(command[0])
        done = deferToThread(
            subprocess.run,
            command,
            input=said,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            cwd=self.folder,
            env={**os.environ, "HOME": str(self.folder)},
        )
        # A client that is gone leaves a connection that the reactor has yet to hear the end of.
        return done.addCallback(self._after_the_last)

    def _after_the_last(
        self, done: subprocess.CompletedProcess[str]
    ) -> Deferred[subprocess.CompletedProcess[str]] | subprocess.CompletedProcess[str]:
        if not self.toy.open:
            return done
        later: Deferred[subprocess.CompletedProcess[str]] = Deferred()
        reactor.callLater(0.01, later.callback, done)
        return later.addCallback(self._after_the_last)

    async def s_client(self, port: int, *arguments: str, said: str = "QUIT\n") -> str:
        done = await self.run_it("openssl", "s_client", "-connect", f"127.0.0.1:{port}", *arguments, said=said)
        return done.stdout + done.stderr

    # OpenSSL's

    async def test_openssl_accepts_it_by_name_and_by_address(self) -> None:
        port = self.listen()
        trust = ("-CAfile", str(self.ca), "-verify_return_error", "-crlf", "-quiet")
        for who in (("-verify_hostname", NAME), ("-verify_ip", "127.0.0.1"), ("-verify_hostname", "localhost")):
            self.assertIn("221 bye", await self.s_client(port, *trust, *who), who)
        for who in (("-verify_hostname", "www.example.com"), ("-verify_ip", "127.0.0.2")):
            self.assertIn("mismatch", await self.s_client(port, *trust, *who), who)
        self.assertIn("unable to get local issuer", await self.s_client(port, "-verify_return_error", "-CApath", "/"))

    async def test_debians_steps_make_it_trusted(self) -> None:
        """As in docs/clients.md, but into folders of ours."""
        local, etc = self.folder / "local", self.folder / "etc"
        local.mkdir()
        etc.mkdir()
        (local / "lanmail-ca.crt").write_bytes(authority().certificates)
        command = ("update-ca-certificates", "--localcertsdir", str(local), "--etccertsdir", str(etc))
        done = await self.run_it(*command, "--hooksdir", str(local))
        self.assertEqual(done.returncode, 0, done.stderr)
        trust = ("-CApath", str(etc), "-verify_return_error", "-verify_hostname", NAME, "-crlf", "-quiet")
        self.assertIn("221 bye", await self.s_client(self.listen(), *trust))

    async def test_after_starttls_it_is_the_same(self) -> None:
        port = self.listen(wrapped=False)
        said = await self.s_client(
            port,
            "-starttls",
            "smtp",
            "-CAfile",
            str(self.ca),
            "-verify_return_error",
            "-verify_hostname",
            NAME,
            "-crlf",
        )
        self.assertIn("Verify return code: 0 (ok)", said)

    async def test_no_session_is_resumed_with_either_version(self) -> None:
        port = self.listen()
        for version in ("-tls1_2", "-tls1_3"):
            session = str(self.folder / f"session{version}")
            await self.s_client(port, version, "-sess_out", session, "-crlf", "-ign_eof")
            if os.path.exists(session):
                said = await self.s_client(port, version, "-sess_in", session, "-crlf", "-ign_eof")
                self.assertIn("New, TLSv1", said)
                self.assertNotIn("Reused", said)

    async def test_there_is_no_compression_and_no_old_version(self) -> None:
        port = self.listen()
        self.assertIn("Compression: NONE", await self.s_client(port, "-comp"))
        for version in ("-tls1", "-tls1_1"):
            said = await self.s_client(port, version, "-cipher", "ALL:@SECLEVEL=0")
            self.assertIn("no peer certificate available", said)
        self.assertIn("no peer certificate", await self.s_client(port, "-tls1_2", "-cipher", "AES128-GCM-SHA256"))

    async def test_a_client_cannot_have_us_do_the_costly_kinds_of_key_exchange(self) -> None:
        port = self.listen()
        for group in ("X25519", "P-256", "P-384"):
            self.assertIn("New, TLSv1.3", await self.s_client(port, "-groups", group), group)
        for group in ("ffdhe2048", "ffdhe3072", "P-521", "X448"):
            self.assertIn("no peer certificate available", await self.s_client(port, "-groups", group), group)

    async def test_an_old_device_is_served_on_its_own_port(self) -> None:
        self.toy = ToyFactory(reactor, (chain(), chain(for_old_devices=True)), Versions.OLD)
        port = self.listen()
        # The system's configuration may forbid its own client TLS 1.0; a level of 0 in the list says otherwise.
        for cipher in ("AES128-SHA", "ECDHE-ECDSA-AES128-SHA"):
            said = await self.s_client(port, "-tls1", "-cipher", f"{cipher}:@SECLEVEL=0", "-crlf", "-ign_eof")
            if "no protocols available" in said:
                raise SkipTest("this machine's openssl speaks no TLS 1.0 itself")
            self.assertIn(Spoken("TLSv1", cipher), self.toy.seen, said)

    # curl's, with its OpenSSL

    async def curl(self, host: str, port: int, *arguments: str, scheme: str = "smtps") -> str:
        command = ("curl", "-sS", "--cacert", str(self.ca), "--noproxy", "*", *arguments, f"{scheme}://{host}:{port}")
        done = await self.run_it(*command)
        return done.stdout + done.stderr

    async def test_curl_accepts_it_by_name_and_by_address(self) -> None:
        port = self.listen()
        self.assertNotIn("curl:", await self.curl("127.0.0.1", port))
        self.assertNotIn("curl:", await self.curl(NAME, port, "--resolve", f"{NAME}:{port}:127.0.0.1"))
        other = "www.example.com"
        self.assertIn("curl: (60)", await self.curl(other, port, "--resolve", f"{other}:{port}:127.0.0.1"))

    async def test_curl_accepts_it_by_an_ipv6_address(self) -> None:
        port = self.listen(interface="::1")
        self.assertNotIn("curl:", await self.curl("[::1]", port))

    async def test_curl_accepts_it_after_starttls(self) -> None:
        port = self.listen(wrapped=False)
        self.assertNotIn("curl:", await self.curl("127.0.0.1", port, "--ssl-reqd", scheme="smtp"))
        self.assertEqual(len(self.toy.seen), 1)

    async def test_curl_refuses_anothers_certificate(self) -> None:
        self.toy = ToyFactory(reactor, (foreign(NAME, addresses=("127.0.0.1",)),))
        self.assertIn("curl: (60)", await self.curl("127.0.0.1", self.listen()))

    # GnuTLS's

    async def test_msmtp_accepts_it_by_address_and_after_starttls(self) -> None:
        for wrapped in (True, False):
            port = self.listen(wrapped=wrapped)
            command = ("msmtp", "--serverinfo", "--host=127.0.0.1", f"--port={port}", "--tls=on", "--auth=off")
            starttls = f"--tls-starttls={'off' if wrapped else 'on'}"
            done = await self.run_it(*command, starttls, f"--tls-trust-file={self.ca}")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("TLS1.3", done.stdout)
            self.assertIn("CN=srv.lan.example", done.stdout)
            refused = await self.run_it(*command, starttls, "--tls-trust-file=/etc/hostname")
            self.assertNotEqual(refused.returncode, 0)

    async def test_gnutls_accepts_it_by_name_and_by_address(self) -> None:
        port = self.listen()
        for host, name in (("127.0.0.1", "127.0.0.1"), ("127.0.0.1", NAME)):
            command = ("gnutls-cli", "--crlf", f"--x509cafile={self.ca}", f"--verify-hostname={name}", "-p", str(port))
            done = await self.run_it(*command, host, said="QUIT\n")
            self.assertIn("Status: The certificate is trusted", done.stdout + done.stderr)
            self.assertEqual(done.returncode, 0)
        done = await self.run_it(*command[:2], "--verify-hostname=www.example.com", *command[3:], host, said="QUIT\n")
        self.assertNotEqual(done.returncode, 0)

    # NSS's: what Thunderbird and Evolution verify with

    async def nss(self, port: int, name: str) -> subprocess.CompletedProcess[str]:
        """tstclnt verifies the name that it sends; for an address it sends none."""
        sent = () if _is_address(name) else ("-a", name)
        host = name if _is_address(name) else "127.0.0.1"
        return await self.run_it("tstclnt", "-d", "sql:nss", "-h", host, "-p", str(port), *sent, "-Q", said="QUIT\r\n")

    async def test_nss_accepts_it_by_name_and_by_address(self) -> None:
        need("certutil", "tstclnt")
        port = self.listen()
        (self.folder / "nss").mkdir()
        await self.run_it("certutil", "-N", "-d", "sql:nss", "--empty-password")
        untrusted = await self.nss(port, "127.0.0.1")
        self.assertIn("SEC_ERROR_UNKNOWN_ISSUER", untrusted.stderr)
        # "C": an authority for servers, what Thunderbird's "Trust this CA to identify websites" sets.
        await self.run_it("certutil", "-A", "-d", "sql:nss", "-n", "lan", "-t", "C,,", "-i", str(self.ca))
        for name in ("127.0.0.1", NAME, "lan.example", "localhost"):
            done = await self.nss(port, name)
            self.assertNotIn("ERROR", done.stderr, name)
            self.assertEqual(done.returncode, 0, name)
        for other, where in (("www.example.com", port), ("127.0.0.2", self.listen(interface="127.0.0.2"))):
            done = await self.nss(where, other)
            self.assertIn("SSL_ERROR_BAD_CERT_DOMAIN", done.stderr, other)


def _is_address(name: str) -> bool:
    try:
        socket.inet_aton(name)
    except OSError:
        return False
    return True
