"""A service of three workers, as real processes: how it starts, what it does when one of its processes dies, and how it ends."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import poplib
import pwd
import re
import signal
import smtplib
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from lanmail.rights.loading import unreadable
from lanmail.rights.privileges import Rights
from tests.caller import Caller
from tests.live import ROOT, Server, mail_owner, wait_for
from tests.scenarios.test_least_privilege import (
    adopting_orphans,
    alive,
    all_tcp,
    called,
    children,
    listening,
    manager,
    only,
    program,
    sockets,
)

DOMAIN = "iscb-corporation.com"
NUMBER = 3


class ProcessesCase(SynchronousTestCase):
    more = ""

    def setUp(self) -> None:
        self.server = Server(self.mktemp(), f"workers = {NUMBER}\n{self.more}")
        self.addCleanup(self.server.stop)

    @property
    def supervisor(self) -> int:
        assert self.server.process is not None
        return self.server.process.pid

    def nursery(self) -> int:
        return only([pid for pid in children(self.supervisor) if called(pid) == "lanmail-nursery"])

    def workers(self) -> list[int]:
        return children(self.nursery())

    def send(self, text: str, to: str = "julien") -> None:
        with smtplib.SMTP("127.0.0.1", self.server.smtp, timeout=20) as client:
            client.sendmail(f"nel@{DOMAIN}", [f"{to}@{DOMAIN}"], f"Subject: {text}\r\n\r\nBonjour.\r\n")

    def wait_for_line(self, line: str, count: int = 1) -> None:
        wait_for(lambda: len(re.findall(line, self.server.describe())) >= count, self.server.describe)

    def wait_for_mail(self, count: int, name: str = "julien") -> bytes:
        path = self.server.spool / name

        def there() -> bool:
            return path.exists() and path.read_bytes().count(b"\nSubject: ") >= count

        wait_for(there, self.server.describe)
        return path.read_bytes()

    def all_gone(self, pids: Sequence[int]) -> None:
        wait_for(lambda: not any(alive(pid) for pid in pids), self.server.describe)


class LifeTests(ProcessesCase):
    def test_mail_comes_in_by_all_of_them_and_goes_out_whoever_is_asked(self) -> None:
        self.server.start()
        self.assertEqual(len(self.workers()), NUMBER)
        # Those that wait for their clients leave the next one to another.
        with contextlib.ExitStack() as stack:
            for _ in range(30):
                stack.enter_context(Caller(self.server.smtp))
            self.send("one")
        for number in range(20):
            self.send(f"number {number}")
        self.wait_for_mail(21)
        for _ in range(3):
            box = poplib.POP3("127.0.0.1", self.server.pop3, timeout=20)
            box.encoding = "utf-8"
            box.user("julien")
            box.pass_(self.server.ACCOUNTS["julien"])
            self.assertEqual(box.stat()[0], 21)
            box.quit()
        self.assertGreater(len(set(re.findall(r"smtpd\[(\d+)\]: connect from", self.server.describe()))), 1)
        self.assertNotIn("Traceback", self.server.describe())

    def test_it_is_ready_once_all_serve_and_stops_as_one(self) -> None:
        with manager() as (address, heard):
            self.server.start(("env", f"NOTIFY_SOCKET={address}", *self.server.command()))
            self.assertEqual(heard.recv(1000), b"READY=1")
            self.assertEqual(len(re.findall(r"worker \d \(pid \d+\) serves", self.server.describe())), NUMBER)
            family = [self.supervisor, *children(self.supervisor), *self.workers()]
            self.assertEqual(self.server.stop(), -signal.SIGTERM)
            self.assertEqual(heard.recv(1000), b"STOPPING=1")
        self.all_gone(family)
        self.assertEqual(self.server.describe().count("lanmail has stopped"), NUMBER + 1)
        self.assertNotIn("Traceback", self.server.describe())
        self.assertNotIn("another is started", self.server.describe())

    def test_a_manager_that_watches_hears_of_life_while_all_answer(self) -> None:
        with manager() as (address, heard):
            self.server.start(("env", f"NOTIFY_SOCKET={address}", "WATCHDOG_USEC=1000000", *self.server.command()))
            self.assertEqual(heard.recv(1000), b"READY=1")
            for _ in range(2):
                self.assertEqual(heard.recv(1000), b"WATCHDOG=1")
            held = self.workers()[0]
            os.kill(held, signal.SIGSTOP)
            try:
                heard.settimeout(3)
                with self.assertRaises(TimeoutError):
                    for _ in range(4):  # those that were on their way
                        heard.recv(1000)
            finally:
                os.kill(held, signal.SIGCONT)
            heard.settimeout(20)
            self.assertEqual(heard.recv(1000), b"WATCHDOG=1")

    def test_a_second_service_is_refused_as_ever(self) -> None:
        self.server.start()
        other = Server(str(self.server.folder), f"workers = {NUMBER}\n")
        self.addCleanup(other.stop)
        with self.assertRaises(AssertionError) as refused:
            other.start()
        self.assertIn(f"another lanmail (pid {self.supervisor}) is running", str(refused.exception))

    def test_sighup_changes_all_of_them_or_none(self) -> None:
        text = self.server.main_cf.read_text()
        self.server.start()
        before = self.sizes()
        for new, said, sizes in (
            ("message_size_limit = 1000000\n", "the configuration was read again", {"1000000"}),
            (
                "message_size_limit = 2000000\nmydestinations = x\n",
                "nothing of the configuration was changed",
                {"1000000"},
            ),
            (
                "message_size_limit = 2000000\nalias_maps = /nowhere/x\n",
                "nothing of the configuration was changed",
                {"1000000"},
            ),
            ("message_size_limit = 3000000\n", "the configuration was read again", {"3000000"}),
        ):
            self.server.main_cf.write_text(text + new)
            begin = len(self.server.describe())
            os.kill(self.supervisor, signal.SIGHUP)
            wait_for(lambda: said in self.server.describe()[begin:], self.server.describe)
            self.assertEqual(self.sizes(), sizes)
        self.assertNotEqual(before, sizes)
        # One that is started anew has what holds, not what held when the service began.
        os.kill(self.workers()[0], signal.SIGKILL)
        self.wait_for_line(r"worker \d \(pid \d+\) serves", NUMBER + 1)
        self.assertEqual(self.sizes(), {"3000000"})
        self.assertNotIn("Traceback", self.server.describe())

    def sizes(self) -> set[str]:
        """What they tell clients, over as many connections as it takes to have met each."""
        sizes = set()
        with contextlib.ExitStack() as stack:
            for _ in range(24):
                client = stack.enter_context(Caller(self.server.smtp))
                client.send(b"EHLO here\r\n")
                lines = [client.line()]
                while lines[-1][3:4] == "-":
                    lines.append(client.line())
                sizes.add(next(line[9:] for line in lines if line[4:].startswith("SIZE")))
        return sizes

    def test_sigterm_lets_a_message_that_is_coming_in_come_whole(self) -> None:
        self.server.start()
        with Caller(self.server.smtp) as client:
            for line in ("EHLO here", f"MAIL FROM:<nel@{DOMAIN}>", f"RCPT TO:<julien@{DOMAIN}>", "DATA"):
                client.say(line)
            client.send(b"Subject: late\r\n\r\nthe beginning\r\n")
            os.kill(self.supervisor, signal.SIGTERM)
            wait_for(lambda: not self.server.listens(), self.server.describe)
            self.assertRaises(ConnectionError, Caller, self.server.smtp)
            client.send(b"and the end\r\n.\r\n")
            self.assertRegex(client.line(), r"^250 ")
        assert self.server.process is not None
        self.server.process.wait(20)
        self.server.start()
        self.assertIn(b"and the end", self.wait_for_mail(1))

    def test_a_second_signal_waits_for_nobody(self) -> None:
        self.server.start()
        with Caller(self.server.smtp) as client:
            for line in ("EHLO here", f"MAIL FROM:<nel@{DOMAIN}>", f"RCPT TO:<julien@{DOMAIN}>", "DATA"):
                client.say(line)
            client.send(b"the beginning\r\n")
            began = time.monotonic()
            os.kill(self.supervisor, signal.SIGTERM)
            wait_for(lambda: not self.server.listens(), self.server.describe)
            os.kill(self.supervisor, signal.SIGTERM)
            assert self.server.process is not None
            self.server.process.wait(20)
            self.assertLess(time.monotonic() - began, 10)


class DeathTests(ProcessesCase):
    def test_a_worker_that_dies_is_started_again_and_nothing_is_lost_meanwhile(self) -> None:
        self.server.start()
        accepted: list[str] = []
        over = threading.Event()

        def client(number: int) -> None:
            count = 0
            while not over.is_set():
                count += 1
                name = f"{number}-{count}"
                with contextlib.suppress(OSError, smtplib.SMTPException):
                    self.send(name)
                    accepted.append(name)

        clients = [threading.Thread(target=client, args=(number,)) for number in range(4)]
        for each in clients:
            each.start()
        try:
            for victim in range(NUMBER):
                wait_for(lambda: len(self.workers()) == NUMBER, self.server.describe)
                before = len(accepted)
                os.kill(self.workers()[victim], signal.SIGKILL)
                wait_for(lambda at=before: len(accepted) >= at + 20, self.server.describe)
                self.wait_for_line(r"worker \d \(pid \d+\) serves", NUMBER + victim + 1)
        finally:
            over.set()
            for each in clients:
                each.join(20)
        self.assertEqual(len(re.findall(r"was ended by SIGKILL; another is started", self.server.describe())), NUMBER)
        text = self.wait_for_mail(len(accepted))
        found = re.findall(rb"^Subject: (\S+)$", text, re.MULTILINE)
        self.assertEqual(sorted(name for name in accepted if found.count(name.encode()) != 1), [])
        self.assertNotIn("Traceback", self.server.describe())

    def test_one_that_is_told_to_end_ends_and_another_comes(self) -> None:
        self.server.start()
        os.kill(self.workers()[1], signal.SIGTERM)
        self.wait_for_line(r"ended with status 0; another is started")
        self.wait_for_line(r"worker \d \(pid \d+\) serves", NUMBER + 1)
        self.assertEqual(len(self.workers()), NUMBER)

    def test_a_supervisor_that_is_killed_takes_all_along_and_the_next_goes_on(self) -> None:
        self.server.start()
        family = [*children(self.supervisor), *self.workers()]
        self.send("before")
        self.server.stop(signal.SIGKILL)
        self.server.start()
        self.all_gone(family)
        self.send("after")
        self.wait_for_mail(2)

    def test_without_the_nursery_the_service_ends_and_says_so(self) -> None:
        self.server.start()
        family = [self.supervisor, *children(self.supervisor), *self.workers()]
        os.kill(self.nursery(), signal.SIGKILL)
        assert self.server.process is not None
        self.assertEqual(self.server.process.wait(20), 1)
        self.assertIn("error: the nursery of the workers is lost", self.server.describe())
        self.all_gone(family)

    def test_without_the_guard_the_service_ends_and_says_so(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root has a guard")
        self.server.start()
        family = [self.supervisor, *children(self.supervisor), *self.workers()]
        os.kill(only([pid for pid in children(self.supervisor) if b"parent.py" in program(pid)]), signal.SIGKILL)
        assert self.server.process is not None
        self.assertEqual(self.server.process.wait(40), 1)
        self.assertIn("error: the guard's root parent is lost", self.server.describe())
        self.assertNotIn("Traceback", self.server.describe())
        self.all_gone(family)


class WaysToStartTests(ProcessesCase):
    def test_twistd_in_the_background_has_all_their_lines_in_its_log(self) -> None:
        with adopting_orphans():
            before = {*children(os.getpid())}
            pidfile, log = self.server.folder / "twistd.pid", self.server.folder / "twistd.log"
            self.server.start(
                (
                    sys.executable,
                    "-c",
                    "from twisted.scripts.twistd import run; run()",
                    "--pidfile",
                    str(pidfile),
                    "--logfile",
                    str(log),
                    "-y",
                    str(ROOT / "etc/lanmail.tac"),
                ),
                cwd=str(self.server.folder),
            )
            service = int(pidfile.read_text())
            self.addCleanup(lambda: alive(service) and os.kill(service, signal.SIGKILL))
            assert self.server.process is not None
            self.server.process.wait(20)  # it has gone to the background
            self.send("one")
            self.wait_for_mail(1)
            wait_for(lambda: "status=sent" in log.read_text(), log.read_text)
            ours = [pid for pid in children(os.getpid()) if pid not in before]
            nursery = only([pid for pid in ours if called(pid) == "lanmail-nursery"])
            family = [*ours, *children(nursery)]
            os.kill(service, signal.SIGTERM)
            self.all_gone(family)

    def test_each_process_has_the_rights_that_it_needs(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can give root up")
        self.server.start()
        self.send("one")
        self.wait_for_mail(1)
        owner = pwd.getpwnam(mail_owner())
        for pid in (self.supervisor, self.nursery(), *self.workers()):
            rights = Rights.of(pid)
            self.assertEqual((rights.uids, rights.gids), ((owner.pw_uid,) * 4, (owner.pw_gid,) * 4))
            self.assertEqual((rights.capabilities, rights.no_new_privileges), ((), True))
            for thread in os.listdir(f"/proc/{pid}/task"):
                self.assertEqual(Rights.of(f"{pid}/task/{thread}"), Rights.of(pid))
            self.assertEqual(len(sockets(pid) & listening()), 2)
        self.assertEqual(Rights.of(self.nursery()).threads, 1)
        guard = only([pid for pid in children(self.supervisor) if b"parent.py" in program(pid)])
        wait_for(lambda: len(sockets(guard)) == 2 + 2 * NUMBER, self.server.describe)
        for pid in (guard, *children(guard)):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                self.assertEqual(Rights.of(pid).uids, (0,) * 4)
                self.assertEqual(sockets(pid) & all_tcp(), set())

    def test_by_an_ordinary_user(self) -> None:
        if os.geteuid() == 0:
            owner = pwd.getpwnam(mail_owner())
            if folder := unreadable(owner.pw_uid, owner.pw_gid):
                raise SkipTest(f"Python lies in {folder}, which is root's alone")
            for path in (self.server.folder, *self.server.folder.rglob("*")):
                os.chown(path, owner.pw_uid, owner.pw_gid)
            number = f"{owner.pw_uid}"
            command: Sequence[str] = ("setpriv", "--reuid", number, "--clear-groups", "--regid", f"{owner.pw_gid}")
        else:
            command = ()
        self.server.start((*command, *self.server.command()))
        self.assertEqual([called(pid) == "lanmail-nursery" for pid in children(self.supervisor)], [True])
        self.send("one")
        self.wait_for_mail(1)
        self.server.stop()


class QueueTests(ProcessesCase):
    more = "deliver_lock_attempts = 1\ndeliver_lock_delay = 1s\n"

    def queue(self, *arguments: str) -> str:
        done = subprocess.run(
            (
                sys.executable,
                "-c",
                "from lanmail.admin.command import main; main()",
                "queue",
                *arguments,
                "--config",
                str(self.server.main_cf),
            ),
            capture_output=True,
            text=True,
            timeout=60,
            cwd=ROOT,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_what_waits_with_each_of_them_is_one_queue(self) -> None:
        self.server.put_mailbox("julien", b"")
        self.server.start()
        with (self.server.spool / "julien").open("rb+") as held:
            fcntl.lockf(held, fcntl.LOCK_EX)
            for number in range(12):
                self.send(f"number {number}")
            listed = [json.loads(line)["queue_id"] for line in self.queue("list", "--json").splitlines()]
            self.assertEqual(len(listed), 12)
            self.assertEqual(listed, sorted(listed))
            self.assertGreater(len(re.findall(r"smtpd\[(\d+)\]", self.server.describe())), 1)
            for one in listed[:3]:
                self.assertIn("Subject: number", self.queue("show", one))
            self.queue("hold", *listed[:6])
            self.queue("delete", *listed[6:8])
            kinds = [json.loads(line)["queue_name"] for line in self.queue("list", "--json").splitlines()]
            self.assertEqual((len(kinds), kinds.count("hold")), (10, 6))
            # The same with no service running, and by one process alone.
            self.server.stop()
            self.assertEqual(len(self.queue("list", "--json").splitlines()), 10)
        self.queue("release", "ALL")
        self.queue("flush", "ALL")
        text = self.server.main_cf.read_text()
        self.server.main_cf.write_text(text.replace(f"workers = {NUMBER}", "workers = 1"))
        self.server.start()
        self.wait_for_mail(10)
