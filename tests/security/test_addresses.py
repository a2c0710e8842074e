"""Text from the network stays text: no shell is there to read it, no address makes a file, and nothing in it is taken for its form."""

from __future__ import annotations

import ast
import base64
import string
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import lanmail
from tests.caller import Caller, pop3, smtp
from tests.live import Server, shared
from tests.mailbox import second_reader

DOMAIN = "iscb-corporation.com"
METACHARACTERS = (
    "`id`",
    "$(id)",
    ";id;",
    "|id",
    "&id&",
    "a\nb",
    "../nel",
    "..",
    ".",
    "/etc/passwd",
    "-rf",
    "~root",
    "%s%n",
    "${x}",
    "{0}",
    "a b",
)

server = shared(lambda folder: Server(folder, people={"nel": "x", "bomb": "x"}))


class ShellTests(SynchronousTestCase):
    """OpenSMTPD's CVE-2020-7247 and its like."""

    def said(self) -> Iterator[tuple[str, str]]:
        """Each file of the program, and what it names."""
        for path in Path(lanmail.__file__).parent.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute):
                    yield path.name, f"{ast.unparse(node.value)}.{node.attr}"
                elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    yield path.name, node.func.id
                elif isinstance(node, ast.keyword) and node.arg == "shell":
                    yield path.name, "shell="

    def test_no_shell_is_ever_started_and_programs_only_by_the_guard(self) -> None:
        said = set(self.said())
        for what in ("os.system", "os.popen", "subprocess.getoutput", "pty.spawn", "shell=", "eval", "exec"):
            self.assertEqual({path for path, name in said if name == what}, set(), what)
        starts = {
            path for path, name in said if name.startswith(("subprocess.", "os.exec", "os.spawn", "os.posix_spawn"))
        }
        twisted = {path for path, name in said if name.endswith((".spawnProcess", ".getProcessOutput"))}
        self.assertLessEqual(starts | twisted, {"starting.py", "guard.py", "births.py"})


class AddressTests(SynchronousTestCase):
    def test_addresses_of_every_character_make_no_file_and_no_line(self) -> None:
        before = {path.name for path in server().spool.iterdir()} | {"nel", "root"}
        kept = server().queue / "lanmail"
        files = {path.name for path in kept.rglob("*")}
        odd = [*METACHARACTERS, *(f"x{char}y" for char in string.printable if char not in "\r\n")]
        caller = smtp(server().smtp)
        taken = 0
        for count, local in enumerate(odd):
            if count % 6 == 0:
                caller.close()
                caller = smtp(server().smtp)
                self.addCleanup(caller.close)
            quoted = local.replace("\\", "\\\\").replace('"', '\\"')
            if not caller.say(f'MAIL FROM:<"{quoted}"@x.example>').startswith("250 "):
                caller = smtp(server().smtp)
                self.addCleanup(caller.close)
                continue
            self.assertRegex(caller.say(f'RCPT TO:<"{quoted}"@{DOMAIN}>'), "^5", local)
            self.assertRegex(caller.say(f"RCPT TO:<nel@{DOMAIN}>"), "^250 ")
            self.assertRegex(caller.say("DATA"), "^354 ")
            self.assertRegex(caller.say("Subject: odd\r\n\r\nx\r\n."), "^250 ")
            taken += 1
        self.assertGreater(taken, 80)
        text = server().mailbox("nel")
        self.assertEqual(len(second_reader.read(text)), taken)
        self.assertEqual(text.count(b"\nReturn-Path: <"), taken)
        self.assertLessEqual({path.name for path in server().spool.iterdir()} - before, set())
        new = {path.name for path in kept.rglob("*")} - files
        self.assertEqual({name for name in new if not name.startswith(("nel", "journal", "history"))}, set())
        self.assertNotIn("Traceback", server().describe())

    def test_parameters_hold_no_line_end_in_any_form(self) -> None:
        """Exim's CVE-2020-28021: a line of one's own in the queue's file."""
        for parameter in (
            "ENVID=a+0D+0Ab",
            "ENVID=a+0Ab",
            "RET=FULL+0A",
            "SIZE=1+0A",
            "BODY=8BITMIME+0A",
        ):
            with smtp(server().smtp) as caller:
                self.assertRegex(caller.say(f"MAIL FROM:<x@x.example> {parameter}"), "^5", parameter)
        for parameter in ("ORCPT=rfc822;a+0D+0Ab", "ORCPT=rfc822;a+00b", "ORCPT=utf-8;a\\x{A}b", "NOTIFY=NEVER+0A"):
            with smtp(server().smtp, "MAIL FROM:<x@x.example>") as caller:
                self.assertRegex(caller.say(f"RCPT TO:<nel@{DOMAIN}> {parameter}"), "^5", parameter)


class BombTests(SynchronousTestCase):
    """What would have to be taken apart to be dangerous is passed on as it is."""

    def test_ten_thousand_parts_and_a_hundred_thousand_addresses_are_octets(self) -> None:
        parts = "".join(f"Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n" for n in range(10_000))
        people = ",\r\n ".join(f"p{n}@x.example" for n in range(4_000))
        for text in (
            parts,
            f"Subject: x\r\nContent-Type: text/plain;\r\n{' a=b;' * 100_000}\r\n\r\n",
            f"Subject: x\r\nTo: {people}\r\n\r\nx\r\n",
        ):
            with smtp(server().smtp, "MAIL FROM:<>", f"RCPT TO:<bomb@{DOMAIN}>", "DATA") as caller:
                caller.send(text.encode() + b"\r\n.\r\n")
                self.assertRegex(caller.reply(), "^250 |^552 ")
        server().wait_until_delivered()
        with pop3(server().pop3, "bomb", "x") as client:
            count = int(client.say("STAT").split()[1])
            self.assertGreater(count, 0)
            for number in range(1, count + 1):
                octets = int(client.say(f"RETR {number}").split()[1])
                self.assertEqual(client.pass_text(), octets)


class LoginTests(SynchronousTestCase):
    """A login that makes no sense, or half a one, is nobody else's trouble."""

    def test_half_an_exchange_and_noise_in_place_of_one_keep_nobody_out(self) -> None:
        waiting = []
        for said in ("AUTH PLAIN", "AUTH LOGIN"):
            caller = Caller(server().pop3)
            self.addCleanup(caller.close)
            self.assertRegex(caller.say(said), r"^\+ ")
            waiting.append(caller)
        for said in (
            "AUTH PLAIN ====",
            "AUTH PLAIN " + base64.b64encode(b"\0\0\0").decode(),
            "AUTH PLAIN \xff",
            "AUTH LOGIN *",
            "AUTH \0",
        ):
            with Caller(server().pop3) as caller:
                self.assertRegex(caller.say(said), "^-ERR ", said)
        with pop3(server().pop3, "nel", "x") as client:
            self.assertRegex(client.answer, r"^\+OK ")
        for caller in waiting:
            self.assertRegex(caller.say("*"), "^-ERR ")
