"""What goes wrong, and what then happens: one trouble after the other, against a whole server.

Noise, greed and sloth are in scenarios/test_abuse.py, signals in test_signals.py.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import grp
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.caller import Caller, pop3, smtp, transaction
from tests.crash.server import descendants
from tests.live import ROOT, Server, mail_owner, shared, system_users, wait_for

PASSWORD = "dianaël"
MIB = 1024 * 1024
NAMES = (
    *("announced", "atend", "full", "missing", "link", "dangling", "fifo", "twonames", "folder", "else"),
    *("dotlocked", "locked", "unlocked", "wrong", "second", "silent", "gone", "one", "two", "three"),
)
PEOPLE = dict.fromkeys(NAMES, PASSWORD)
LIMITS = """\
message_size_limit = 100000
mailbox_size_limit = 100000
smtpd_recipient_limit = 3
smtpd_hard_error_limit = 4
pop3_error_limit = 4
pop3_takeover_after = 2s
deliver_lock_attempts = 4
"""

STRANGERS = "mynetworks = 192.0.2.0/24\nsmtpd_client_connection_count_limit = 2\n"


@functools.cache
def common(workers: int, more: str = "") -> Callable[[], Server]:
    """A server for all tests that want no other, of so many workers."""
    return shared(lambda folder: Server(folder, f"{LIMITS}{more}workers = {workers}\n", people=PEOPLE))


LETTER = "From: nel@iscb-corporation.com\r\nSubject: Essai\r\n\r\nBonjour.\r\n."
FOREIGN = b"From old@iscb-corporation.com Fri Nov 21 15:42:42 2003\nSubject: %d\n\nText.\n\n"


class FailureCase(SynchronousTestCase):
    """workers: how many serve. tests/workers/test_failures.py has all of it once more, with several."""

    workers = 1

    def house(self) -> Server:
        return self.watched(common(self.workers)())

    def strangers(self) -> Server:
        """The same for clients that are not its own."""
        return self.watched(common(self.workers, STRANGERS)())

    def made(self, extra: str = "", people: dict[str, str] = PEOPLE, accounts: str = "passwd-file") -> Server:
        """One for this test alone, not started."""
        server = Server(self.mktemp(), f"{extra}workers = {self.workers}\n", accounts, people=people)
        self.addCleanup(server.stop)
        return server

    def watched(self, server: Server) -> Server:
        """The server, which must get through the test without an error that nobody expected."""
        begin = len(server.describe()) if server.log.exists() else 0

        def check() -> None:
            log = server.describe()[begin:]
            self.assertNotIn("Traceback", log)

        self.addCleanup(check)
        return server

    def own(self, extra: str = "", people: dict[str, str] = PEOPLE) -> Server:
        return self.watched(self.made(extra, people).start())

    def deliver(self, server: Server, *names: str, text: str = LETTER) -> str:
        """The answer to the end of the message."""
        with smtp(server.smtp, *transaction(*names)) as client:
            return client.say(text)

    def answer(self, server: Server, *names: str, text: str = LETTER) -> str:
        """The first refusal of a whole transaction, or what was said to its end."""
        with smtp(server.smtp) as client:
            for command in transaction(*names):
                reply = client.say(command)
                if reply.startswith(("4", "5")):
                    return reply
            return client.say(text)

    def flush(self, server: Server) -> None:
        """Try everything that waits, as an administrator does."""
        command = "from lanmail.admin.command import main; main()"
        subprocess.run(
            [sys.executable, "-c", command, "queue", "flush", "--config", str(server.main_cf)],
            check=True,
            capture_output=True,
            cwd=ROOT,
        )

    def log_in(self, server: Server, name: str, source: str = "127.0.0.1", password: str = PASSWORD) -> Caller:
        client = pop3(server.pop3, name, password, source)
        self.addCleanup(client.close)
        return client

    def assert_delivered(self, answer: str) -> None:
        self.assertRegex(answer, r"^250 2\.0\.0 Ok: queued as [0-9A-F]{10}$")


class RefusedRecipientTests(FailureCase):
    def asked(self, server: Server, recipient: str) -> str:
        with smtp(server.smtp, "MAIL FROM:<nel@iscb-corporation.com>") as client:
            return client.say(f"RCPT TO:<{recipient}>")

    def test_an_unknown_recipient(self) -> None:
        answer = self.asked(self.house(), "nobody@iscb-corporation.com")
        self.assertRegex(answer, r"^550 5\.1\.1 .*nobody@iscb-corporation\.com")

    def test_a_stranger_who_wants_mail_relayed(self) -> None:
        self.assertRegex(self.asked(self.strangers(), "somebody@elsewhere.example"), r"^554 5\.7\.1 ")

    def test_a_stranger_may_write_to_us(self) -> None:
        self.assert_delivered(self.deliver(self.strangers(), "one"))

    def test_mail_for_elsewhere_does_not_leave_this_network(self) -> None:
        answer = self.asked(self.house(), "somebody@elsewhere.example")
        self.assertRegex(answer, r"^550 5\.4\.4 .*does not leave this network")


class RefusedMessageTests(FailureCase):
    def test_a_size_that_is_announced_and_too_large(self) -> None:
        with smtp(self.house().smtp) as client:
            self.assertRegex(client.say("MAIL FROM:<nel@iscb-corporation.com> SIZE=100001"), r"^552 5\.3\.4 ")
            self.assertRegex(client.say("MAIL FROM:<nel@iscb-corporation.com> SIZE=100000"), r"^250 ")

    def test_a_message_that_turns_out_too_large_leaves_nothing(self) -> None:
        server = self.house()
        with smtp(server.smtp, *transaction("atend")) as client:
            self.assertRegex(client.say("line\r\n" * 20000 + "."), r"^552 5\.3\.4 ")
            self.assertRegex(client.say("NOOP"), r"^250 ")
        self.assertEqual(server.mailbox("atend"), b"")
        self.assertEqual(list((server.queue / "lanmail/incoming").iterdir()), [])

    def test_a_full_mailbox(self) -> None:
        server = self.house()
        server.put_mailbox("full", FOREIGN % 1 + b"x" * 100000)
        with smtp(server.smtp, "MAIL FROM:<nel@iscb-corporation.com>") as client:
            self.assertRegex(client.say("RCPT TO:<full@iscb-corporation.com>"), r"^452 4\.2\.2 ")

    def limit_files(self, server: Server, octets: int | None) -> None:
        """No file of the server's may grow beyond that. Set by whom the server is, since root may not everywhere."""
        assert server.process is not None
        if shutil.which("prlimit") is None:
            raise SkipTest("prlimit is not installed")
        limit = "unlimited" if octets is None else octets
        owner = pwd.getpwnam(mail_owner())
        become = ["setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]
        for pid in (server.process.pid, *descendants(server.process.pid)):
            if os.stat(f"/proc/{pid}").st_uid == owner.pw_uid:
                command = ["prlimit", "--pid", str(pid), f"--fsize={limit}:"]
                subprocess.run([*become, *command] if os.geteuid() == 0 else command, check=True)

    def test_an_error_of_one_mailboxs_disk_is_no_trouble_of_the_others(self) -> None:
        server = self.own()
        assert server.process is not None
        before = {
            name: FOREIGN % 1 + b"x" * size + b"\n\n" for name, size in (("one", 10), ("two", 400000), ("three", 10))
        }
        for name, text in before.items():
            server.put_mailbox(name, text)
        # No file may grow beyond this, as on a disk that is full for one mailbox and not for the others.
        self.limit_files(server, 410000)
        text = "Subject: Essai\r\n\r\n" + "line\r\n" * 4000 + "."
        self.assert_delivered(self.deliver(server, "one", "two", "three", text=text))
        wait_for(lambda: "status=deferred" in server.describe(), server.describe)
        self.assertEqual(server.mailbox("two"), before["two"])
        for name in ("one", "three"):
            self.assertTrue(server.mailbox(name).endswith(b"line\n\n"))
        self.limit_files(server, None)
        self.flush(server)
        wait_for(lambda: server.mailbox("two").endswith(b"line\n\n"), server.describe)
        self.assertEqual([server.mailbox(name).count(b"Subject: Essai") for name in before], [1, 1, 1])

    def test_a_full_disk_is_said_and_mail_goes_on_when_there_is_room(self) -> None:
        server = self.made()
        server.queue.mkdir()
        with small_disk(server.queue, 2 * MIB):
            self.watched(server.start())
            self.assert_delivered(self.deliver(server, "one"))
            before = server.mailbox("one")
            with full(server.queue):
                for text in (LETTER, "line\r\n" * 100000 + "."):
                    # At MAIL where it is known by then, else at the end of the message.
                    self.assertRegex(self.answer(server, "one", "two", text=text), r"^45[12] 4\.3\.[01] ")
                self.assertEqual((server.mailbox("one"), server.mailbox("two")), (before, b""))
                # A full disk keeps nobody from fetching.
                client = self.log_in(server, "one")
                self.assertEqual(client.answer, "+OK Mailbox open, 1 messages")
                client.say("QUIT")
            wait_for(lambda: self.answer(server, "one", "two").startswith("250 "), server.describe)
            self.assertEqual(server.mailbox("one").count(b"Bonjour."), 2)
            self.assertEqual(server.mailbox("two").count(b"Bonjour."), 1)
            server.stop()

    def test_a_start_without_any_room_ends_with_a_sentence_and_the_next_one_delivers(self) -> None:
        server = self.made()
        server.queue.mkdir()
        with small_disk(server.queue, MIB):
            self.watched(server.start())
            self.assert_delivered(self.deliver(server, "one"))
            server.stop(signal.SIGKILL)
            with full(server.queue):
                self.start_without_room(server)
            server.start()
            self.assertEqual(server.mailbox("one").count(b"Bonjour."), 1)
            server.stop()

    def start_without_room(self, server: Server) -> None:
        self.assertIn("disk is full", str(self.assertRaises(AssertionError, server.start)))

    def test_mail_for_a_full_spool_waits_until_there_is_room(self) -> None:
        server = self.made()
        with small_disk(server.spool, MIB):
            self.watched(server.start())
            self.assert_delivered(self.deliver(server, "one"))
            before = server.mailbox("one")
            with full(server.spool):
                large = "Subject: Essai\r\n\r\nBonjour.\r\n" + "line\r\n" * 2000 + "."
                self.assert_delivered(self.deliver(server, "one", "two", text=large))
                wait_for(lambda: server.describe().count("status=deferred") == 2, server.describe)
                self.assertEqual((server.mailbox("one"), server.mailbox("two")), (before, b""))
                # Whoever fetches and deletes makes room.
                client = self.log_in(server, "one")
                self.assertEqual(client.say("DELE 1"), "+OK Message deleted")
                self.assertEqual(client.say("QUIT"), "+OK Sayonara")
            self.flush(server)
            for name in ("one", "two"):
                wait_for(lambda name=name: server.mailbox(name).count(b"Bonjour.") == 1, server.describe)
            server.stop()


@contextlib.contextmanager
def full(disk: Path) -> Iterator[None]:
    """Without any room."""
    filler = disk / "filler"
    with filler.open("wb", 0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    try:
        yield
    finally:
        filler.unlink()


@contextlib.contextmanager
def small_disk(folder: Path, octets: int) -> Iterator[None]:
    """A file system of its own, for root."""
    before = folder.stat()
    options = f"size={octets},mode={before.st_mode & 0o7777:o},gid={before.st_gid}"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        raise SkipTest("only root, where mount(2) is allowed, can make a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


class MailboxTests(FailureCase):
    def test_a_missing_mailbox_is_made(self) -> None:
        server = self.house()
        self.assert_delivered(self.deliver(server, "missing"))
        server.wait_until_delivered()
        made = (server.spool / "missing").stat()
        if os.geteuid() == 0:
            self.assertEqual((grp.getgrgid(made.st_gid).gr_name, stat.S_IMODE(made.st_mode)), ("mail", 0o660))
        self.assertEqual((server.spool / "missing").owner(), mail_owner())

    def assert_refused(self, name: str, why: str) -> None:
        """Mail is kept in the queue and a login is answered "later"; the log says why."""
        server = common(self.workers)()
        before = len(server.describe())
        self.assert_delivered(self.deliver(server, name))
        wait_for(lambda: f"to=<{name}@" in server.describe()[before:], server.describe)
        self.assertRegex(self.log_in(server, name).answer, r"^-ERR \[SYS/TEMP\] ")
        log = server.describe()[before:]
        # Once for the mail and once for the login.
        self.assertEqual(len(re.findall(rf"warning: mailbox of {name} refused: .*/{name} {why}", log)), 2, log)
        self.assertEqual(len(re.findall(rf"to=<{name}@.*dsn=4\.3\.0, status=deferred \(.*{why}", log)), 1, log)

    def test_a_mailbox_that_is_a_link(self) -> None:
        server = self.house()
        target = server.folder / "target"
        target.write_bytes(b"")
        (server.spool / "link").symlink_to(target)
        self.assert_refused("link", "is a symbolic link")
        self.assertEqual(target.read_bytes(), b"")

    def test_a_mailbox_that_is_a_link_to_nowhere(self) -> None:
        server = self.house()
        target = server.folder / "nowhere"
        (server.spool / "dangling").symlink_to(target)
        self.assert_refused("dangling", "is a symbolic link")
        self.assertFalse(target.exists())

    def test_a_mailbox_that_is_a_fifo(self) -> None:
        server = self.house()
        os.mkfifo(server.spool / "fifo")
        self.assert_refused("fifo", "is not a file")

    def test_a_mailbox_that_is_a_folder(self) -> None:
        server = self.house()
        (server.spool / "folder").mkdir()
        self.assert_refused("folder", "is a folder")

    def test_a_mailbox_with_two_names(self) -> None:
        server = self.house()
        other = server.put_mailbox("other", FOREIGN % 1)
        os.link(other, server.spool / "twonames")
        self.assert_refused("twonames", r"has 2 names")
        self.assertEqual(other.read_bytes(), FOREIGN % 1)

    def test_a_mailbox_of_somebody_else(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can give a file to somebody else")
        server = self.house()
        os.chown(server.put_mailbox("else", FOREIGN % 1), 12345, -1)
        self.assert_refused("else", "belongs to uid 12345")
        self.assertEqual(server.mailbox("else"), FOREIGN % 1)

    def test_locked_mailboxes_delay_nobody_else(self) -> None:
        server = self.house()
        dotlock = server.put_mailbox("dotlocked", b"").with_name("dotlocked.lock")
        dotlock.write_text(f"{os.getpid()}\n")
        before = len(server.describe())
        with server.put_mailbox("locked", FOREIGN % 1).open("rb+") as held:
            fcntl.lockf(held, fcntl.LOCK_EX)
            for name in ("dotlocked", "locked"):
                self.assert_delivered(self.deliver(server, name))
            reader = Caller(server.pop3)
            reader.say("USER locked")
            reader.send(f"PASS {PASSWORD}\r\n".encode())
            began = time.monotonic()
            self.assert_delivered(self.deliver(server, "unlocked"))
            wait_for(lambda: (server.spool / "unlocked").exists(), server.describe)
            self.assertRegex(self.log_in(server, "unlocked").answer, r"^\+OK Mailbox open, 1 ")
            self.assertLess(time.monotonic() - began, 5)
            self.assertRegex(reader.reply(), r"^-ERR \[SYS/TEMP\] ")
            reader.close()
            self.assertTrue(3.5 < time.monotonic() - began < 30)
            # After all our patience they wait in the queue.
            wait_for(lambda: server.describe()[before:].count("dsn=4.2.0, status=deferred") == 2, server.describe)
            self.assertEqual((server.spool / "locked").read_bytes(), FOREIGN % 1)
        self.assertRegex(server.describe(), rf"cannot lock .*/locked: held by pid {os.getpid()} ")
        dotlock.unlink()
        self.flush(server)
        for name in ("dotlocked", "locked"):
            wait_for(lambda name=name: server.mailbox(name).count(b"Bonjour.") == 1, server.describe)


class SessionTests(FailureCase):
    def test_a_wrong_password_and_an_unknown_user_are_answered_alike(self) -> None:
        server = self.house()
        answers, times = set(), []
        for last, (name, password) in enumerate((("wrong", "not it"), ("nobody", "not it"), ("no/body", PASSWORD))):
            began = time.monotonic()
            answers.add(self.log_in(server, name, f"127.0.1.{last + 1}", password).answer)
            times.append(time.monotonic() - began)
        self.assertEqual(answers, {"-ERR [AUTH] Wrong user name or password"})
        self.assertLess(max(times) - min(times), 0.5, times)

    def test_a_second_session_is_refused_while_the_first_is_open(self) -> None:
        server = self.house()
        server.put_mailbox("second", FOREIGN % 1)
        first = self.log_in(server, "second", "127.0.0.1")
        self.assertRegex(first.answer, r"^\+OK ")
        began = time.monotonic()
        second = self.log_in(server, "second", "127.0.0.2")
        self.assertRegex(second.answer, r"^-ERR \[IN-USE\] ")
        self.assertLess(time.monotonic() - began, 6)
        self.assertRegex(first.say("RETR 1"), r"^\+OK ")

    def test_a_session_that_fell_silent_gives_way_to_the_same_address(self) -> None:
        server = self.house()
        server.put_mailbox("silent", FOREIGN % 1)
        first = self.log_in(server, "silent", "127.0.0.3")
        self.assertEqual(first.say("DELE 1"), "+OK Message deleted")
        time.sleep(2.1)  # pop3_takeover_after
        second = self.log_in(server, "silent", "127.0.0.3")
        self.assertEqual(second.answer, "+OK Mailbox open, 1 messages")
        self.assertRaises(ConnectionResetError, first.rest)
        self.assertRegex(second.say("RETR 1"), r"^\+OK ")
        self.assertEqual(server.mailbox("silent"), FOREIGN % 1)

    def test_a_message_that_another_program_removed(self) -> None:
        server = self.house()
        server.put_mailbox("gone", FOREIGN % 1 + FOREIGN % 2)
        client = self.log_in(server, "gone")
        self.assertEqual(client.say("UIDL"), "+OK Unique-ID listing follows")  # by these a letter is found again
        self.assertEqual(len(client.text()), 2)
        (server.spool / "gone").write_bytes(FOREIGN % 2)
        self.assertRegex(client.say("RETR 1"), r"^-ERR ")
        self.assertRegex(client.say("RETR 2"), r"^\+OK ")
        self.assertEqual(client.text(), ["Subject: 2", "", "Text."])
        self.assertEqual(client.say("DELE 2"), "+OK Message deleted")
        self.assertEqual(client.say("QUIT"), "+OK Sayonara")
        self.assertEqual(server.mailbox("gone"), b"")

    def test_pam_that_hangs_for_one_lets_the_others_in(self) -> None:
        pam_exec = next(Path("/").glob("usr/lib*/**/security/pam_exec.so"), None)
        if os.geteuid() != 0 or pam_exec is None:
            raise SkipTest("needs root and pam_exec.so")
        folder = Path(tempfile.mkdtemp(prefix="lanmail-tests-"))
        self.addCleanup(shutil.rmtree, folder)
        script = folder / "hang"
        script.write_text('#!/bin/sh\n[ "$PAM_USER" != lmhangs ] || exec sleep 60\n')
        script.chmod(0o755)
        service = Path("/etc/pam.d/lanmail-test-hangs")
        self.addCleanup(service.unlink, missing_ok=True)
        service.write_text(
            f"auth requisite pam_exec.so quiet {script}\nauth required pam_unix.so\naccount required pam_unix.so\n"
        )
        with system_users(lmhangs=PASSWORD, lmwell=PASSWORD, lmwell2=PASSWORD):
            server = self.made(
                f"pam_service = {service.name}\npam_timeout = 3s\npam_processes = 1\n", accounts="system"
            )
            self.watched(server.start())
            hangs = Caller(server.pop3)
            hangs.say("USER lmhangs")
            hangs.send(f"PASS {PASSWORD}\r\n".encode())
            self.assertRegex(self.log_in(server, "lmwell").answer, r"^\+OK ")
            self.assertRegex(hangs.reply(), r"^-ERR \[SYS/TEMP\] ")
            hangs.close()
            self.assertRegex(self.log_in(server, "lmwell2").answer, r"^\+OK ")


class LimitTests(FailureCase):
    def test_too_many_connections_of_one_client(self) -> None:
        server = self.strangers()
        for port, refusal, expected in (
            (server.smtp, "421 4.7.0 srvlinux.iscb-corporation.com Error: too many connections from 127.0.0.9", 2),
            (server.pop3, "-ERR [SYS/TEMP] too many connections", 2),
        ):
            before = len(server.describe())
            good = [Caller(port, "127.0.0.9") for _ in range(expected)]
            for _ in range(3):
                with Caller(port, "127.0.0.9") as refused:
                    self.assertEqual(refused.greeting, refusal)
                    self.assertEqual(refused.rest(), [])
            with Caller(port, "127.0.0.10") as another:
                self.assertRegex(another.greeting, r"^220 |^\+OK ")
            for client in good:
                self.assertRegex(client.say("NOOP"), r"^250 |^-ERR Log in first")
                client.close()
            told = re.findall("Connection concurrency limit exceeded: .*", server.describe()[before:])
            self.assertTrue(1 <= len(told) <= self.workers, told)  # each says it once
            wait_for(lambda port=port: answers(port, "127.0.0.9"), server.describe)

    def test_too_many_errors(self) -> None:
        server = self.house()
        with smtp(server.smtp) as client:
            for _ in range(3):
                self.assertRegex(client.say("XYZZY"), r"^502 5\.5\.2 ")
            self.assertRegex(client.say("XYZZY"), r"^(502|421) ")
            self.assertRegex((client.rest() or ["421 4.7.0 too many errors"])[0], r"^421 4\.7\.0 .*too many errors")
        with Caller(server.pop3) as client:
            for _ in range(3):
                self.assertRegex(client.say("XYZZY"), r"^-ERR ")
            self.assertRegex(client.say("XYZZY"), r"^-ERR .*too many")
            self.assertEqual(client.rest(), [])

    def test_too_many_commands_before_a_login(self) -> None:
        with Caller(self.house().pop3) as client:
            client.send(b"CAPA\r\n" * 200)
            said = client.rest()
            self.assertRegex(said[-1], r"^-ERR Too many commands")
            self.assertLess(said.count("."), 150)

    def test_too_many_recipients(self) -> None:
        server = self.house()
        with smtp(server.smtp, *transaction("one", "two", "three")[:-1]) as client:
            self.assertRegex(client.say("RCPT TO:<unlocked@iscb-corporation.com>"), r"^452 4\.5\.3 ")
            self.assertRegex(client.say("DATA"), r"^354 ")
            self.assert_delivered(client.say(LETTER))
        for name in ("one", "two", "three"):
            self.assertIn(b"Bonjour.", server.mailbox(name))


def answers(port: int, source: str) -> bool:
    with Caller(port, source) as client:
        return client.greeting.startswith(("220", "+OK"))
