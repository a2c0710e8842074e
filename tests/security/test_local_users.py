"""Somebody with a shell here, and the rights of group mail, who puts other things in the place of their mailbox while mail comes in.

What is asked: nothing is written anywhere but into files that are theirs to have mail in; and of what was answered 250 nothing is lost:
it is in one of the files that were their mailbox, or it waits, or it was reported.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import signal
import subprocess
import sys
import time
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.accounts.fakes import pam_service, system_user
from tests.caller import smtp, transaction
from tests.live import ROOT, Server, let_through, wait_for

SECONDS = 4.0
PAM = "auth required pam_unix.so\naccount required pam_unix.so\n"
FOREIGN = b"From old@iscb-corporation.com Fri Nov 21 15:42:42 2003\nSubject: kept\n\nText.\n\n"

# The attacker, until they are told to stop: the mailbox goes aside, something else stands in its place for a moment, the mailbox comes
# back.
ATTACKER = """\
import os, random, signal, stat, sys, time
spool, name, victim, target, seed = sys.argv[1:]
os.chdir(spool)
going = True
def stop(*_):
    global going
    going = False
signal.signal(signal.SIGTERM, stop)
chance, aside = random.Random(seed), f".{name}.aside"
def link(): os.symlink(target, name)
def dangling(): os.symlink(target + ".new", name)
def device(): os.symlink("/dev/null", name)
def to_another(): os.symlink(victim, name)
def fifo(): os.mkfifo(name)
def folder(): os.mkdir(name)
def hard(): os.link(victim, name)
def twice(): os.link(aside, name)
def fresh(): os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o660))
def nothing(): pass
ways = [link, dangling, device, to_another, fifo, folder, hard, twice, fresh, nothing]
kept = turns = 0
print("ready", flush=True)
while going:
    try:
        os.rename(name, aside)
    except OSError:
        time.sleep(0.001)
        continue
    turns += 1
    way = chance.choice(ways)
    try:
        way()
    except OSError:
        pass
    time.sleep(chance.choice((0, 0.0005, 0.002, 0.01)))
    # They throw no mail of theirs away: what came into another file in the meantime stays, under a name of its own.
    while True:
        try:
            found = os.lstat(name)
            if stat.S_ISDIR(found.st_mode):
                os.rmdir(name)
            elif stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
                kept += 1
                os.rename(name, f".{name}.kept-{kept}")
            else:
                os.unlink(name)
        except OSError:
            pass
        try:
            os.link(aside, name)
            os.unlink(aside)
            break
        except OSError:
            time.sleep(0.001)
    time.sleep(chance.choice((0.001, 0.005, 0.02)))
print(turns, flush=True)
"""


class LocalUserTests(SynchronousTestCase):
    def setUp(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can make users and become them")
        self.eve, self.ann = system_user(self, "eve", "secret"), system_user(self, "ann", "secret")
        self.mail = grp.getgrnam("mail").gr_gid
        self.server = Server(self.mktemp(), f"pam_service = {pam_service(self, PAM)}\n", accounts="system")
        self.addCleanup(self.server.stop)
        # As Debian has it: whoever is in group mail may make and rename files there.
        os.chown(self.server.spool, 0, self.mail)
        self.server.spool.chmod(0o2775)
        let_through(self.server.spool)
        self.target = self.server.folder / "target"
        self.target.write_bytes(b"untouched")
        self.target.chmod(0o666)
        self.server.start()

    def own(self, name: str, mode: int = 0o660) -> Path:
        """A mailbox with one message."""
        path = self.server.spool / name
        draft = self.server.folder / f"draft-{name}"
        draft.write_bytes(FOREIGN)
        os.chown(draft, pwd.getpwnam(name).pw_uid, self.mail)
        draft.chmod(mode)
        return draft.rename(path)

    def attack(self, victim: Path) -> subprocess.Popen[str]:
        entry = pwd.getpwnam(self.eve)
        program = self.server.folder / "attacker.py"
        program.write_text(ATTACKER)
        let_through(self.server.folder)
        process = subprocess.Popen(
            [
                "/usr/bin/python3",
                "-I",
                "-c",
                ATTACKER,
                str(self.server.spool),
                self.eve,
                str(victim),
                str(self.target),
                "7",
            ],
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
            env={},
            user=entry.pw_uid,
            group=self.mail,
            extra_groups=[self.mail],
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        self.assertEqual(process.stdout.readline(), "ready\n")
        return process

    def send(self, name: str, token: str) -> bool:
        with smtp(self.server.smtp, *transaction(name)) as client:
            return client.say(f"Subject: {token}\r\n\r\nx\r\n.").startswith("250 ")

    def race(self, mode: int) -> None:
        self.own(self.eve, mode)
        victim = self.own(self.ann, mode)
        process = self.attack(victim)
        assert process.stdout is not None
        taken: dict[str, list[str]] = {self.eve: [], self.ann: []}
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for name, tokens in taken.items():
                token = f"token-{name}-{len(tokens):05}-"
                if self.send(name, token):
                    tokens.append(token)
        process.send_signal(signal.SIGTERM)
        self.assertGreater(int(process.stdout.readline()), 20, "the attacker came to nothing")
        self.assertGreater(len(taken[self.eve]), 20)
        self.flush()
        self.settle(taken)

    def settle(self, taken: dict[str, list[str]]) -> None:
        """Each is in one of the files that were the mailbox, and in nobody else's; nothing else was touched."""

        def files(name: str) -> bytes:
            found = [self.server.spool / name, *self.server.spool.glob(f".{name}.*")]
            return b"".join(path.read_bytes() for path in found if path.is_file() and not path.is_symlink())

        def missing() -> list[str]:
            everything = {name: files(name) for name in taken}
            return [t for name, tokens in taken.items() for t in tokens if t.encode() not in everything[name]]

        wait_for(
            lambda: not missing(),
            lambda: f"{missing()[:5]} of {sum(map(len, taken.values()))}\n{self.server.describe()[-3000:]}",
        )
        for name, tokens in taken.items():
            text, other = files(name), files(self.ann if name == self.eve else self.eve)
            # What was just written into a file that is then no longer the mailbox comes once more: nobody knows who will read that file.
            most = 1 if name == self.ann else 3
            self.assertEqual([t for t in tokens if not 1 <= text.count(t.encode()) <= most], [])
            self.assertEqual([t for t in tokens if t.encode() in other], [])
            self.assertEqual(text.count(b"Subject: kept"), 1)
        self.assertEqual(self.target.read_bytes(), b"untouched")
        self.assertFalse(self.target.with_name("target.new").exists())
        self.assertNotIn("Traceback", self.server.describe())
        names = {path.name for path in self.server.spool.iterdir()}
        strange = {name for name in names if not name.lstrip(".").startswith((self.eve, self.ann)) and name != "root"}
        self.assertEqual(strange, set())

    def flush(self) -> None:
        command = "from lanmail.admin.command import main; main()"
        for _ in range(2):
            subprocess.run(
                [sys.executable, "-c", command, "queue", "flush", "--config", str(self.server.main_cf)],
                check=True,
                capture_output=True,
                cwd=ROOT,
            )

    def test_a_race_with_a_mailbox_that_we_may_open(self) -> None:
        self.race(0o660)

    def test_a_race_with_a_mailbox_that_only_the_guard_may_open(self) -> None:
        self.race(0o600)

    def test_a_device_in_the_mailbox_s_place(self) -> None:
        """Only root can make one; it is not written to, and mail waits until it is gone."""
        path = self.server.spool / self.eve
        os.mknod(path, 0o666 | 0o020000, os.makedev(1, 3))
        os.chown(path, pwd.getpwnam(self.eve).pw_uid, self.mail)
        self.assertTrue(self.send(self.eve, "token-device"))
        wait_for(lambda: "is not a file" in self.server.describe(), self.server.describe)
        path.unlink()
        self.flush()
        wait_for(lambda: path.exists() and b"token-device" in path.read_bytes(), self.server.describe)

    def test_a_lock_file_that_is_a_link_or_a_folder_leads_nowhere(self) -> None:
        path = self.own(self.eve)
        lock = path.with_name(f"{self.eve}.lock")
        for make, remove in (
            (lambda: lock.symlink_to(self.target), lock.unlink),
            (lambda: lock.symlink_to(self.target.with_name("target.new")), lock.unlink),
            (lock.mkdir, lock.rmdir),
        ):
            make()
            token = f"token-{make}"[:40].encode().hex()
            self.assertTrue(self.send(self.eve, token))
            time.sleep(0.2)
            self.assertEqual(self.target.read_bytes(), b"untouched")
            self.assertFalse(self.target.with_name("target.new").exists())
            with contextlib.suppress(FileNotFoundError):  # a lock of nobody is old
                remove()
            self.flush()
            wait_for(lambda token=token: token.encode() in path.read_bytes(), self.server.describe)
