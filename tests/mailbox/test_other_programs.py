"""Other programs on the same mailbox: what they lock we leave alone, and all of us at once lose, double and tear nothing."""

from __future__ import annotations

import os
import pty
import random
import re
import select
import shutil
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from lanmail.interfaces import User
from lanmail.mailbox.store import Locking, MailboxBusy, MailboxFile
from tests.mailbox.spool import RememberingReport, Spool

LDA = "/usr/lib/dovecot/dovecot-lda"


def needed(program: str) -> str:
    if shutil.which(program) is None:
        raise SkipTest(f"{program} is not installed")
    return program


class LockPrograms(SynchronousTestCase):
    """The commands by which shell scripts lock a mailbox."""

    def setUp(self) -> None:
        self.spool = Spool(os.path.abspath(self.mktemp()))
        self.lock = self.spool.path("ann.lock")

    def test_lockfile_of_procmail(self) -> None:
        take = [needed("lockfile"), "-r0", self.lock]
        mailbox = self.spool.mailbox()
        with mailbox.lock(create=True):
            self.assertNotEqual(subprocess.run(take, capture_output=True).returncode, 0, "it took what we hold")
        subprocess.run(take, check=True, capture_output=True)
        self.assertEqual(self.spool.names(), ["ann", "ann.lock"])
        self.assertRaises(MailboxBusy, mailbox.lock, create=False)
        os.unlink(self.lock)
        mailbox.lock(create=False).release()

    def test_dotlockfile_of_liblockfile(self) -> None:
        # -p: with the pid of whoever called it, which is this process; and that runs, but does not hold it as a lock of ours.
        needed("dotlockfile")
        mailbox = self.spool.mailbox()
        take = ["dotlockfile", "-l", "-p", "-r", "0", self.lock]
        with mailbox.lock(create=True):
            self.assertNotEqual(subprocess.run(take, capture_output=True).returncode, 0, "it took what we hold")
        script = f"{' '.join(take)} && echo locked && read wait"
        with subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as shell:
            assert shell.stdin is not None and shell.stdout is not None
            self.assertEqual(shell.stdout.readline(), b"locked\n")
            busy = self.assertRaises(MailboxBusy, mailbox.lock, create=False)
            self.assertEqual(busy.holder, f"pid {shell.pid} (sh)")
            shell.stdin.close()
        # The script is over and has left its lock.
        self.assertEqual(self.spool.names(), ["ann", "ann.lock"])
        mailbox.lock(create=False).release()

    def test_a_lock_that_we_left_by_dying_is_broken_by_dotlockfile(self) -> None:
        needed("dotlockfile")
        child = os.fork()
        if child == 0:
            self.spool.mailbox().lock(create=True)
            os._exit(0)
        os.waitpid(child, 0)
        self.assertEqual(self.spool.names(), ["ann", "ann.lock"])
        self.assertEqual(subprocess.run(["dotlockfile", "-l", "-p", "-r", "0", self.lock]).returncode, 0)


def body_of(name: str) -> bytes:
    """What that message says: known from its name, so that it can be told whole."""
    lines = random.Random(name).choice([1, 3, 20, 300])
    return (
        b"id: %s\n" % name.encode()
        + b"".join(b"%s line %d\n" % (name.encode(), n) for n in range(lines))
        + b"end: %s" % name.encode()
    )


def pieces(content: bytes) -> list[tuple[int, int, str]]:
    """The messages in an mbox file: start, end, name. Raises AssertionError where one is not whole."""
    starts = [0] if content else []
    starts += [match.end() - 5 for match in re.finditer(rb"\n\nFrom ", content)]
    found = []
    for start, end in zip(starts, [*starts[1:], len(content)], strict=False):  # an empty file has an end and no start
        text = content[start:end]
        _, _, body = text.partition(b"\n\n")
        match = re.match(rb"id: (\S+)\n", body)
        assert text.startswith(b"From ") and match, f"torn: {text[:300]!r}"
        name = match[1].decode()
        assert body.rstrip(b"\n") == body_of(name), f"torn: {text[:200]!r} ... {text[-200:]!r}"
        found.append((start, end, name))
    return found


class Contest:
    """A mailbox of a real user, other programs that run as that user, and us."""

    def __init__(self, case: SynchronousTestCase) -> None:
        if os.geteuid() != 0:
            raise SkipTest("needs root, to make a user")
        self.user = f"lm{os.getpid()}"  # tests may run beside each other
        self.root = tempfile.mkdtemp(prefix="lanmail-")
        case.addCleanup(shutil.rmtree, self.root)
        os.chmod(self.root, 0o755)
        self.home = os.path.join(self.root, "home")
        os.mkdir(self.home)
        self.spool = Spool(self.root)
        os.chmod(self.spool.folder, 0o1777)
        self.path = self.spool.path("ann")
        subprocess.run(["useradd", "-M", "-s", "/bin/sh", "-d", self.home, self.user], check=True)
        case.addCleanup(subprocess.run, ["userdel", self.user], check=True, capture_output=True)
        shutil.chown(self.home, self.user)
        uid, gid = os.stat(self.home).st_uid, 8
        self.report = RememberingReport()
        self.mailbox = MailboxFile(
            self.path,
            User("ann", uid, gid),
            group=gid,
            locking=Locking(),
            state_folder=self.spool.state,
            report=self.report,
        )
        self.mailbox.lock(create=True).release()
        self.dovecot_locks = "dotlock fcntl"
        self.faults: list[str] = []
        self.lost = False  # what is wrong is known, and nobody need go on
        self.rewritten = 0  # times that mutt wrote the file anew
        self.said = ""  # by the program that failed last
        self.busy: Counter[str] = Counter()

    def run(self, command: list[str], text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(command, input=text, capture_output=True, timeout=120, **self._as_user())

    def _as_user(self) -> dict[str, object]:
        environment = {
            "HOME": self.home,
            "PATH": "/usr/sbin:/usr/bin:/bin",
            "USER": self.user,
            "LOGNAME": self.user,
            "TERM": "vt100",
        }
        return {"user": self.user, "group": self.user, "extra_groups": ["mail"], "cwd": self.home, "env": environment}

    # the other programs: each delivers one message, and says whether it did

    def procmail(self, name: str) -> bool:
        rules = os.path.join(self.root, "procmailrc")
        if not os.path.exists(rules):
            with open(rules, "w") as file:
                # The second colon: with a dotlock too. Waiting eight seconds, as it does by default, would only make the test long.
                file.write(f"SHELL=/bin/sh\nLOCKSLEEP=1\nDEFAULT={self.path}\nORGMAIL={self.path}\n:0:\n{self.path}\n")
        text = b"Subject: x\n\n" + body_of(name) + b"\n"
        return self.run(["procmail", "-f", "x", "-m", rules], text).returncode == 0

    def dovecot(self, name: str) -> bool:
        settings = os.path.join(self.root, "dovecot.conf")
        if not os.path.exists(settings):
            with open(settings, "w") as file:
                file.write(f"base_dir = {self.home}/run\nmail_location = mbox:{self.home}/mail:INBOX={self.path}\n")
                file.write(
                    f"mbox_read_locks = fcntl\nmbox_write_locks = {self.dovecot_locks}\nfirst_valid_uid = 1\nssl = no\n"
                )
                # With its default it trusts the offsets in its index after somebody else has expunged, and then says "Message body
                # offset lookup failed" and delivers nothing until the file changes. The file is whole; it only does not look.
                file.write("mbox_dirty_syncs = no\n")
                file.write("log_path = /dev/stderr\npostmaster_address = a@b\nnamespace inbox {\n  inbox = yes\n}\n")
        text = b"From: a@b\nSubject: x\n\n" + body_of(name) + b"\n"
        done = self.run([LDA, "-c", settings, "-e"], text)
        self.said = done.stderr.decode(errors="replace")
        return done.returncode == 0

    def mutt(self, name: str) -> bool:
        settings = f"set record={self.path} copy=yes sendmail=/bin/true use_from=no hostname=h"
        done = self.run(["mutt", "-n", "-F", "/dev/null", "-e", settings, "-s", "x", "a@b"], body_of(name) + b"\n")
        said = (done.stdout + done.stderr).decode(errors="replace")
        self.said = said or self.said
        return done.returncode == 0 and "failed" not in said

    def mutt_flags_all(self, turn: int) -> None:
        """mutt on a terminal, as somebody reads: it flags every message, or takes the flags away, and writes the file anew in place."""
        flag = ("<clear-flag>", "<set-flag>")[turn % 2]
        keys = f'push "<tag-pattern>~A<enter><tag-prefix>{flag}!<sync-mailbox><quit>"'
        screen, terminal = pty.openpty()
        command = ["mutt", "-n", "-F", "/dev/null", "-f", self.path, "-e", "set quit=yes sleep_time=0", "-e", keys]
        reader = subprocess.Popen(
            command, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True, **self._as_user()
        )
        os.close(terminal)
        until = time.monotonic() + 20
        shown = b""
        try:
            while time.monotonic() < until and reader.poll() is None:
                if select.select([screen], [], [], 1.0)[0]:
                    shown += os.read(screen, 65536)
                else:  # the mailbox changed under it: it says so, and forgets what it was to do next
                    os.write(screen, b"q")
        except OSError:  # it has gone and its terminal with it
            pass
        try:
            reader.wait(5)
        except subprocess.TimeoutExpired:  # it asks something; whatever it is, the answer is no
            reader.kill()
            reader.wait()
        os.close(screen)
        self.rewritten += b" kept, " in shown
        time.sleep(0.5)

    def mutt_rewrites(self, times: int, limit: float = 120) -> None:
        """So often, or until that many seconds are over: it leaves the file alone where it has changed since it was read."""
        until = time.monotonic() + limit
        turn = 1
        while self.rewritten < times and time.monotonic() < until and not self.lost:
            self.mutt_flags_all(turn)
            turn += 1

    # we

    def locked(self, work: Callable[..., None]) -> None:
        """Try until it is free, as the program does."""
        until = time.monotonic() + 60
        while True:
            try:
                with self.mailbox.lock(create=False) as held:
                    work(held)
                return
            except MailboxBusy as busy:
                self.busy[re.sub(r"\d+", "N", busy.holder)] += 1
                if time.monotonic() > until:
                    raise
                time.sleep(random.uniform(0.002, 0.03))

    def append(self, name: str) -> None:
        def work(held) -> None:  # type: ignore[no-untyped-def]
            held.append([b"From lanmail Mon Jan  1 00:00:00 2024\nSubject: x\n\n", body_of(name), b"\n\n"])
            held.sync()

        self.locked(work)

    def expunge(self, chance: random.Random) -> list[str]:
        """Take out a few, whosever they are; which."""
        gone: list[str] = []

        def work(held) -> None:  # type: ignore[no-untyped-def]
            found = pieces(os.pread(held.fd, held.length(), 0))
            if len(found) < 10:  # leave them something to work on
                return
            chosen = sorted(chance.sample(found, chance.randint(1, 4)))
            held.take_out([(start, end) for start, end, _ in chosen])
            gone.extend(name for _, _, name in chosen)

        self.locked(work)
        return gone

    def deliver(self, program: str, numbers: range) -> threading.Thread:
        """So many messages by another program, each until it says that it did."""

        def work() -> None:
            for number in numbers:
                for _ in range(20):
                    if self.lost:
                        return
                    if getattr(self, program)(f"{program}-{number}"):
                        break
                    # mutt looks at the first line before it locks, and procmail puts one octet into an empty file and sleeps a second.
                    time.sleep(0.3)
                else:
                    self.faults.append(f"{program} gave up: {self.said}")
                    return

        return threading.Thread(target=work)


class AllAtOnce(SynchronousTestCase):
    timeout = 300

    def play(
        self, programs: dict[str, int], ours: int, rewrites: int = 0, dovecot_locks: str = "dotlock fcntl"
    ) -> Contest:
        """So many messages by each, and ours, and more of ours until mutt has written the file anew so many times."""
        contest = Contest(self)
        contest.dovecot_locks = dovecot_locks
        chance = random.Random(1)
        # Each program several times at once. procmail gets few: where the file was read since its last change it sleeps a second under
        # its lock, so that the times differ.
        threads = [contest.deliver(name, range(n, count, 5)) for name, count in programs.items() for n in range(5)]
        if rewrites:
            threads.append(threading.Thread(target=contest.mutt_rewrites, args=(rewrites,)))
        gone: list[str] = []
        number = 1
        contest.append("ours-0")  # mutt takes a file that procmail is just beginning for no mailbox
        for thread in threads:
            thread.start()
        try:
            while number < ours or any(thread.is_alive() for thread in threads):
                enough = number >= ours
                if not enough or rewrites:
                    contest.append(f"ours-{number}")
                    number += 1
                if chance.random() < 0.2:
                    gone += contest.expunge(chance)
                # Or the others hardly get their turn: mutt gives up where the file has changed since it read it.
                time.sleep(1.5 if enough else 0.02)
        except BaseException:
            contest.lost = True
            raise
        finally:
            for thread in threads:
                thread.join()
        self.assertEqual(contest.faults, [])
        with contest.mailbox.lock(create=False) as held:
            left = [name for _, _, name in pieces(os.pread(held.fd, held.length(), 0))]
        expected = [f"{program}-{n}" for program, count in {**programs, "ours": number}.items() for n in range(count)]
        counted = Counter(gone + left)
        self.assertEqual({name: n for name, n in counted.items() if n != 1}, {}, "doubled")
        self.assertEqual(sorted(counted), sorted(expected))
        self.assertGreater(len(gone), 5)
        self.assertEqual(contest.spool.names(), ["ann"])
        self.assertEqual(contest.report.lines, [])
        return contest

    def test_procmail_and_dovecot_with_us_lose_double_and_tear_nothing(self) -> None:
        # Dovecot with the order that the others have. With Debian's it and procmail wait for each other, each holding what the other
        # wants, until one of them gives up after minutes; that is theirs, and so we let go of the first before we try again.
        needed("procmail")
        needed(LDA)
        contest = self.play({"procmail": 5, "dovecot": 30}, ours=80)
        self.assertGreater(contest.busy.total(), 0, "nobody was ever in the way of anybody")

    def test_dovecot_with_debians_order_which_is_the_opposite_of_ours_starves_nobody(self) -> None:
        needed(LDA)
        contest = self.play({"dovecot": 80}, ours=120, dovecot_locks="fcntl dotlock")
        self.assertGreater(contest.busy.total(), 0, "nobody was ever in the way of anybody")

    def test_procmail_and_mutt_that_rewrites_the_file_lose_double_and_tear_nothing(self) -> None:
        needed("procmail")
        needed("mutt")
        contest = self.play({"procmail": 3, "mutt": 15}, ours=60, rewrites=3)
        self.assertGreaterEqual(contest.rewritten, 3, "mutt came to its turn too seldom in all that time")
        self.assertGreater(contest.busy.total(), 0, "nobody was ever in the way of anybody")
