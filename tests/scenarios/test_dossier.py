"""The dossier, whole: its main.cf starts the server, its two captures are played over TCP, and a sniffer sees what Ethereal saw."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import SkipTest, TestCase

from tests import dialogue
from tests.live import Server, free_port, mail_owner, need, wait_for

SCENARIO = Path(__file__).parent / "01-dossier"
PEOPLE = {"julien": "dianaël", "nel": "naël"}
FROM_LINE = "From julien@iscb-corporation.com  Fri Nov 21 15:42:42 2003\n"

# Where a server of today says it otherwise than Postfix 1.1.11 did; and two lines of base64 that were misread from the screen.
SINCE = {
    "Response: 250 ok": r"Response: 250 2\.1\.[05] Ok",
    "Response: 250 ok: queued as 222CF6745D": r"Response: 250 2\.0\.0 Ok: queued as [0-9A-F]{10}",
    "Response: 221 Bye": r"Response: 221 2\.0\.0 Bye",
    "Request: bmvS": "Request: bmVs",
    "Request: ZgIhbmFlba==": r"Request: bmHDq2w=",
}


def dossier_server(folder: str) -> Server:
    """Started with the dossier's own main.cf; only where it listens and where its files lie is changed, on the command line."""
    server = Server(folder, people=PEOPLE)
    # The backslash before each $ is the dossier's typesetting.
    server.main_cf.write_text((SCENARIO / "main.cf").read_text("utf-8").replace("\\$", "$"), "utf-8")
    changed = {
        "queue_directory": server.queue,
        "data_directory": server.folder / "data",
        "mail_spool_directory": server.spool,
        "mail_owner": mail_owner(),
        "accounts": f"passwd-file:{server.passwd}",
        "inet_interfaces": "127.0.0.1",
        "smtp_port": server.smtp,
        "pop3_port": server.pop3,
        # Nobody spoke TLS then, and at this port nobody logged in.
        "smtpd_tls_security_level": "none",
        "smtpd_tls_auth_only": "yes",
        # The names of that time, which the captures have.
        "mail_name": "Postfix",
        "pop3_banner": "POP3 [192.168.1.1] v2001.78rh server ready",
    }
    overrides = [word for name, value in changed.items() for word in ("-o", f"{name}={value}")]
    return server.start([*server.command(), *overrides])


class Capture:
    """tshark on loopback while it lasts. SkipTest where it cannot."""

    def __init__(self, file: Path, *ports: int) -> None:
        need("tshark")
        self._file = file
        self._probe = free_port()
        self._complaints = file.with_suffix(".stderr")
        self._seen = file.with_suffix(".seen")
        heard = " or ".join(f"tcp port {port}" for port in (*ports, self._probe))
        with self._complaints.open("wb") as complaints, self._seen.open("wb") as seen:
            self._tshark = subprocess.Popen(
                ["tshark", "-n", "-i", "lo", "-f", heard, "-w", str(file), "-P", "-l"],
                stdout=seen,
                stderr=complaints,
            )
        try:
            self._until_it_sees_us()
        except AssertionError as error:
            self._tshark.kill()
            self._tshark.wait()
            raise SkipTest(f"tshark cannot capture on lo: {error}") from None

    def _until_it_sees_us(self) -> None:
        """Knock at a port where nobody is, until that is seen: then everything before it is, too."""
        before = self._seen.stat().st_size

        def seen() -> bool:
            with socket.socket() as sock:
                sock.connect_ex(("127.0.0.1", self._probe))
            return self._seen.stat().st_size > before

        wait_for(seen, lambda: self._complaints.read_text(errors="replace"), self._tshark)

    def end(self) -> None:
        if self._tshark.poll() is None:
            self._until_it_sees_us()
            self._tshark.send_signal(signal.SIGINT)
            self._tshark.wait()

    def decoded(self, protocol: str, port: int) -> list[str]:
        """Each packet of the protocol in one line, by Wireshark's own dissector."""
        command = ["tshark", "-n", "-r", str(self._file), "-d", f"tcp.port=={port},{protocol}", "-Y", protocol]
        # Ethereal did not put pieces together.
        command += ["-o", "smtp.desegment_data:FALSE", "-o", "pop.desegment_data:FALSE"]
        command += ["-T", "fields", "-e", "_ws.col.Info"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def as_in_2003(info: str, commands: str) -> str:
    """One line of today's Wireshark in Ethereal's words. commands: what a client's line is called in this protocol."""
    if info == "C: .":
        return "EOM: ."
    if info.startswith("C: Message Body"):
        return "Message Body"
    if info.startswith("S: DATA fragment"):
        return "Continuation"
    # The reply to EHLO has several lines; Ethereal showed the first.
    return re.sub("^S: ", "Response: ", re.sub("^C: ", f"{commands}: ", info.partition(" | ")[0]))


def lines_of(protocol: str) -> list[str]:
    """What the dossier has of it."""
    text = (SCENARIO / "capture.txt").read_text("utf-8")
    return [line.partition("\t")[2] for line in text.splitlines() if line.startswith(f"{protocol}\t")]


class DossierTests(TestCase):
    def setUp(self) -> None:
        self.server = dossier_server(self.mktemp())
        self.addCleanup(self.server.stop)

    def put_the_letter(self) -> None:
        """What Nel fetches: the one letter that the other dialogue tells of, in the mailbox since 2003."""
        said = "\n".join(
            step.text for step in dialogue.read("pop3-dossier")[0].steps if isinstance(step, dialogue.Says)
        )
        text = said.partition("+OK 930 octets\n")[2].partition("\n.\n")[0].replace("\n..", "\n.")
        (self.server.spool / "nel").write_text(f"{FROM_LINE}{text}\n\n")

    async def play(self) -> None:
        for spoken in dialogue.read("smtp-dossier"):
            await spoken.play_over_tcp(reactor, self.server.smtp)
        self.assertIn(b"Bonjour Nel.", self.server.mailbox("nel"))
        self.put_the_letter()
        for spoken in dialogue.read("pop3-dossier"):
            await spoken.play_over_tcp(reactor, self.server.pop3)

    async def test_the_captures_over_tcp(self) -> None:
        await self.play()
        self.assertEqual(self.server.mailbox("nel"), b"")

    async def test_a_sniffer_sees_what_ethereal_saw(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can capture")
        capture = Capture(self.server.folder / "capture.pcap", self.server.smtp, self.server.pop3)
        try:
            await self.play()
        finally:
            capture.end()
        for protocol, port, commands in (
            ("SMTP", self.server.smtp, "Command"),
            ("POP", self.server.pop3, "Request"),
        ):
            saw = [as_in_2003(info, commands) for info in capture.decoded(protocol.lower(), port)]
            expected = lines_of(protocol)
            self.assertEqual(len(saw), len(expected), saw)
            for then, now in zip(expected, saw, strict=True):
                self.assertRegex(now, f"^{SINCE.get(then) or re.escape(then)}$")
