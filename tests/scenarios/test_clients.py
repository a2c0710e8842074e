"""Mail programs that nobody here wrote: each sends and fetches for real, and what comes out is what went in."""

from __future__ import annotations

import email
import email.policy
import os
import poplib
import pty
import re
import select
import smtplib
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

from twisted.trial.unittest import SynchronousTestCase

from tests.live import Server, need, shared
from tests.scenarios.letters import BODY, foreign, letter, send

SENDERS = ("curl", "swaks", "msmtp", "mutt", "snail", "smtplib")
FETCHERS = ("curl", "mpop", "fetchmail", "getmail", "mutt", "snail", "poplib")
PASSWORD = "dianaël"
LIMIT = 30  # seconds for one run of one client

# A mailbox for each test, so that they can have one server.
server = shared(
    lambda folder: Server(
        folder, people={**{f"to-{name}": PASSWORD for name in SENDERS}, **{f"of-{name}": PASSWORD for name in FETCHERS}}
    )
)


class ClientCase(SynchronousTestCase):
    """A home of its own, with files that nobody else can read, and nothing of whoever runs the tests."""

    def setUp(self) -> None:
        self.home = Path(self.mktemp()).resolve()
        self.home.mkdir(mode=0o700, parents=True)
        self.environment = {
            "HOME": str(self.home),
            "PATH": os.environ["PATH"],
            "LC_ALL": "C.UTF-8",
            "TERM": "xterm",
            "TMPDIR": str(self.home),
        }

    def file(self, name: str, text: str | bytes) -> str:
        path = self.home / name
        path.touch(0o600)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return str(path)

    def run_client(self, *command: str, text: bytes = b"") -> bytes:
        """What it wrote to standard output. Fails the test, with all it said, if it was not content."""
        ended = subprocess.run(
            command, input=text, capture_output=True, env=self.environment, cwd=self.home, timeout=LIMIT
        )
        if ended.returncode:
            said = (ended.stdout + ended.stderr).decode(errors="replace")
            self.fail(f"{command[0]} ended with {ended.returncode}\n{said}\n{server().describe()[-3000:]}")
        return ended.stdout

    def run_on_a_terminal(self, *command: str) -> None:
        """For a program that must see one. Ends when the program does."""
        said, status = self.on_a_terminal(*command)
        self.assertEqual(status, 0, said.decode(errors="replace"))

    def on_a_terminal(self, *command: str, until: bytes = b"") -> tuple[bytes, int]:
        """What a program says there, and its status. It is killed once it has said ``until``, or took too long."""
        ours, its = pty.openpty()
        self.addCleanup(os.close, ours)
        program = subprocess.Popen(
            command, stdin=its, stdout=its, stderr=its, env=self.environment, cwd=self.home, start_new_session=True
        )
        os.close(its)
        said, end = b"", time.monotonic() + LIMIT
        while time.monotonic() < end and not (until and until in said):
            if select.select([ours], [], [], 0.2)[0]:
                try:
                    said += os.read(ours, 65536)
                except OSError:  # EIO: the program is gone
                    break
        else:
            program.kill()
        return said, program.wait()


class SendingTests(ClientCase):
    def arrived(self, name: str) -> bytes:
        """The one message in the mailbox, without what the server has put above it."""
        box = poplib.POP3("127.0.0.1", server().pop3, timeout=LIMIT)
        box.user(name)
        box.pass_(PASSWORD)
        self.assertEqual(box.stat()[0], 1)
        lines = box.retr(1)[1]
        box.dele(1)
        box.quit()
        added = lines[:6]
        self.assertEqual(
            [line.partition(b":")[0] for line in added[:4]],
            [b"Return-Path", b"X-Original-To", b"Delivered-To", b"Received"],
        )
        self.assertEqual(lines[0], b"Return-Path: <nel@iscb-corporation.com>")
        self.assertEqual([line[:1] for line in added[4:]], [b"\t", b"\t"])
        return b"".join(line + b"\r\n" for line in lines[6:])

    def assert_same_letter(self, arrived: bytes, name: str) -> None:
        """For a program that composes: the header is its own, the text must be the same once its encoding is taken off."""
        message = email.message_from_bytes(arrived, policy=email.policy.default)
        self.assertEqual(message["Subject"], "first")
        self.assertEqual(message["To"], f"{name}@iscb-corporation.com")
        text = message.get_content()
        self.assertEqual(text.replace("\r\n", "\n").split("\n"), BODY.decode().replace("\r\n", "\n").split("\n"))

    def test_curl(self) -> None:
        need("curl")
        # Without the last line end, which curl then adds: without it the dot would not stand alone.
        message = self.file("letter", letter("to-curl")[:-2])
        self.run_client(
            *("curl", "-sS", f"smtp://127.0.0.1:{server().smtp}/client.example", "-T", message),
            *("--mail-from", "nel@iscb-corporation.com", "--mail-rcpt", "to-curl@iscb-corporation.com"),
        )
        self.assertEqual(self.arrived("to-curl"), letter("to-curl"))

    def test_swaks(self) -> None:
        need("swaks")
        message = self.file("letter", letter("to-swaks").replace(b"\r\n", b"\n")[:-1])
        self.run_client(
            *("swaks", "--server", "127.0.0.1", "--port", str(server().smtp), "--helo", "client.example"),
            *("--from", "nel@iscb-corporation.com", "--to", "to-swaks@iscb-corporation.com", "--data", f"@{message}"),
        )
        self.assertEqual(self.arrived("to-swaks"), letter("to-swaks"))

    def test_msmtp(self) -> None:
        need("msmtp")
        rc = self.file(
            "msmtprc",
            f"account default\nhost 127.0.0.1\nport {server().smtp}\nfrom nel@iscb-corporation.com\nauth off\ntls off\n",
        )
        text = letter("to-msmtp").replace(b"\r\n", b"\n")[:-1]
        self.run_client("msmtp", "-C", rc, "--", "to-msmtp@iscb-corporation.com", text=text)
        self.assertEqual(self.arrived("to-msmtp"), letter("to-msmtp"))

    def test_mutt(self) -> None:
        need("mutt")
        rc = self.file(
            "muttrc",
            f"""\
set smtp_url="smtp://127.0.0.1:{server().smtp}/"
set from=nel@iscb-corporation.com use_from=yes use_envelope_from=yes hostname=client.example
set ssl_starttls=no ssl_force_tls=no copy=no send_charset="us-ascii:utf-8" charset=utf-8
""",
        )
        text = BODY.replace(b"\r\n", b"\n")
        self.run_client("mutt", "-n", "-F", rc, "-s", "first", "--", "to-mutt@iscb-corporation.com", text=text)
        self.assert_same_letter(self.arrived("to-mutt"), "to-mutt")

    def test_s_nail(self) -> None:
        need("s-nail")
        self.run_client(
            *("s-nail", "-:/", "-Sv15-compat", f"-Smta=smtp://127.0.0.1:{server().smtp}", "-Ssmtp-auth=none"),
            *("-Sfrom=nel@iscb-corporation.com", "-Shostname=client.example", "-Smime-encoding=8bit", "-Ssendwait"),
            *("-s", "first", "to-snail@iscb-corporation.com"),
            text=BODY.replace(b"\r\n", b"\n"),
        )
        self.assert_same_letter(self.arrived("to-snail"), "to-snail")

    def test_pythons_smtplib(self) -> None:
        with smtplib.SMTP("127.0.0.1", server().smtp, "client.example", timeout=LIMIT) as client:
            refused = client.sendmail(
                "nel@iscb-corporation.com", ["to-smtplib@iscb-corporation.com"], letter("to-smtplib"), ["BODY=8BITMIME"]
            )
        self.assertEqual(refused, {})
        self.assertEqual(self.arrived("to-smtplib"), letter("to-smtplib"))


class FetchingTests(ClientCase):
    """Each finds two messages: one that came by SMTP, and one that another program wrote into the file."""

    def fill(self, name: str) -> None:
        self.name = name
        send(server().smtp, name, letter(name))
        server().wait_until_delivered()
        with (server().spool / name).open("ab") as file:
            file.write(foreign(name))

    def assert_fetched(self, first: bytes, second: bytes, end: bytes = b"\r\n") -> None:
        """Octet for octet, in the line ends that the client stores."""
        sent, expected = letter(self.name), foreign(self.name).partition(b"\n")[2].replace(b"\n", b"\r\n") + b"\r\n"
        trace, _, _ = first.partition(sent.partition(b"\r\n")[0])
        self.assertTrue(trace.startswith(b"Return-Path: <nel@iscb-corporation.com>" + end), first)
        self.assertIn(b"Delivered-To: " + self.name.encode(), trace)
        self.assertEqual(first[len(trace) :], sent.replace(b"\r\n", end))
        self.assertEqual(second, expected.replace(b"\r\n", end))

    def assert_emptied(self) -> None:
        self.assertEqual(server().mailbox(self.name), b"")

    def test_curl(self) -> None:
        need("curl")
        self.fill("of-curl")
        url = f"pop3://127.0.0.1:{server().pop3}/"
        rc = self.file("curlrc", f'user = "of-curl:{PASSWORD}"\n')
        self.assertEqual(len(self.run_client("curl", "-sS", "-K", rc, url).splitlines()), 2)
        first, second = (self.run_client("curl", "-sS", "-K", rc, url + number) for number in "12")
        self.assert_fetched(first, second)
        for _ in range(2):
            self.run_client("curl", "-sS", "-K", rc, "-X", "DELE", "-l", url + "1")
        self.assert_emptied()

    def test_mpop(self) -> None:
        need("mpop")
        self.fill("of-mpop")
        for part in ("new", "cur", "tmp"):
            (self.home / "maildir" / part).mkdir(parents=True)
        rc = self.file(
            "mpoprc",
            f"""\
account default
host 127.0.0.1
port {server().pop3}
user of-mpop
password {PASSWORD}
tls off
auth plain
received_header off
delivery maildir {self.home}/maildir
uidls_file {self.home}/uidls
""",
        )
        self.run_client("mpop", "-C", rc)
        self.assert_fetched(*self.letters(self.home / "maildir/new"), end=b"\n")
        self.assert_emptied()

    def test_fetchmail(self) -> None:
        need("fetchmail")
        self.fill("of-fetchmail")
        self.environment["FETCHMAILHOME"] = str(self.home)
        (self.home / "fetched").mkdir()
        rc = self.file(
            "fetchmailrc",
            f"""\
set invisible
poll 127.0.0.1 service {server().pop3} protocol pop3 auth password
    user of-fetchmail with password "{PASSWORD}" sslproto ''
    fetchall nokeep no rewrite pass8bits
    mda "/bin/sh -c 'cat > $(mktemp {self.home}/fetched/XXXXXXXX)'"
""",
        )
        self.run_client("fetchmail", "-f", rc, "--nosyslog", "--nodetach")
        self.assert_fetched(*self.letters(self.home / "fetched"), end=b"\n")
        self.assert_emptied()

    def test_getmail(self) -> None:
        need("getmail")
        self.fill("of-getmail")
        (self.home / "fetched").mkdir()
        rc = self.file(
            "getmailrc",
            f"""\
[retriever]
type = SimplePOP3Retriever
server = 127.0.0.1
port = {server().pop3}
username = of-getmail
password = {PASSWORD}
[destination]
type = MDA_external
path = /bin/sh
arguments = ("-c", "cat > $(mktemp {self.home}/fetched/XXXXXXXX)")
allow_root_commands = true
[options]
delete = true
delivered_to = false
received = false
""",
        )
        self.run_client("getmail", f"--getmaildir={self.home}", f"--rcfile={rc}")
        first, second = self.letters(self.home / "fetched")
        # Its own, where there is none.
        self.assert_fetched(first, second.removeprefix(b"Return-Path: <unknown>\n"), end=b"\n")
        self.assert_emptied()

    def test_mutt(self) -> None:
        need("mutt")
        self.fill("of-mutt")
        rc = self.file(
            "muttrc",
            f"""\
set folder="{self.home}" mbox_type=MMDF pop_pass="{PASSWORD}" pop_authenticators="user" ssl_starttls=no ssl_force_tls=no
set confirmappend=no confirmcreate=no delete=yes quit=yes wait_key=no pop_checkinterval=0 pop_reconnect=no
set charset=utf-8 weed=no pop_delete=yes sort=mailbox-order
push "<tag-pattern>.<enter><tag-prefix><save-message>=saved<enter><sync-mailbox><quit>"
""",
        )
        self.run_on_a_terminal("mutt", "-n", "-F", rc, "-f", f"pop://of-mutt@127.0.0.1:{server().pop3}/")
        mark = b"\1\1\1\1\n"  # MMDF: what stands between the marks is the message, unquoted
        _, first, _, second, _ = (self.home / "saved").read_bytes().split(mark)
        # It adds what it keeps in a file, and ends the header with it.
        first, second = (
            re.sub(rb"(Content-Length|Lines|Status): .*\n", b"", text.partition(b"\n")[2]) for text in (first, second)
        )
        self.assert_fetched(first, second, end=b"\n")
        self.assert_emptied()

    def test_s_nail(self) -> None:
        need("s-nail")
        self.fill("of-snail")
        url = f"pop3://of-snail:{quote(PASSWORD)}@127.0.0.1:{server().pop3}"
        commands = f"copy 1 {self.home}/1\ncopy 2 {self.home}/2\ndelete 1 2\nquit\n"
        self.run_client("s-nail", "-:/", "-#", "-Sv15-compat", "-f", url, text=commands.encode())
        # It stores an mbox: a line before, an empty one behind, and a mark at what might be taken for a separator.
        first, second = (
            (self.home / number).read_bytes().partition(b"\n")[2].removesuffix(b"\n") for number in ("1", "2")
        )
        for line in (b"From here", b"From julien"):
            self.assertEqual(first.count(b"\n>" + line), 1)
            first = first.replace(b"\n>" + line, b"\n" + line)
        self.assert_fetched(first, second, end=b"\n")
        self.assert_emptied()

    def test_pythons_poplib(self) -> None:
        self.fill("of-poplib")
        box = poplib.POP3("127.0.0.1", server().pop3, timeout=LIMIT)
        box.user("of-poplib")
        box.pass_(PASSWORD)
        count, octets = box.stat()
        first, second = (b"".join(line + b"\r\n" for line in box.retr(number)[1]) for number in (1, 2))
        self.assert_fetched(first, second)
        self.assertEqual((count, octets), (2, len(first) + len(second)))
        self.assertEqual(box.list()[1], [b"1 %d" % len(first), b"2 %d" % len(second)])
        self.assertEqual(len({line.split()[1] for line in box.uidl()[1]}), 2)
        header, _, body = first.partition(b"\r\n\r\n")
        top = [*header.split(b"\r\n"), b"", *body.split(b"\r\n")[:3]]
        self.assertEqual(box.top(1, 3)[1], top)
        box.dele(1)
        box.rset()
        box.dele(1)
        box.dele(2)
        box.quit()
        self.assert_emptied()

    def letters(self, folder: Path) -> list[bytes]:
        """The files there, in the order of their subjects."""
        return sorted((path.read_bytes() for path in folder.iterdir()), key=lambda text: b"Subject: second" in text)
