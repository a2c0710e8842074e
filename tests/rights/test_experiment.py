"""A service in small that gives root up: what it and the guard are then, as the kernel says it, and that it can still do its work."""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, TestCase

from lanmail.rights.privileges import Rights
from tests.accounts.fakes import pam_service, system_user
from tests.live import ROOT, mail_owner, wait_for
from tests.rights import experiment

PAM = "auth required pam_unix.so\naccount required pam_unix.so\n"


def sockets(pid: int) -> int:
    """How many descriptors of a process are sockets."""
    found = 0
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found += os.readlink(f"/proc/{pid}/fd/{fd}").startswith("socket:")
    return found


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def program(pid: int) -> bytes:
    """What a process is called; nothing where it has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


class ExperimentTests(TestCase):
    def setUp(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can give root up")
        folder = Path(tempfile.mkdtemp(prefix="lanmail-rights-"))
        self.addCleanup(shutil.rmtree, folder)
        folder.chmod(0o755)
        owner = pwd.getpwnam(mail_owner())
        self.mail = grp.getgrnam("mail").gr_gid
        self.spool, state, home = folder / "mail", folder / "state", folder / "home"
        for path, uid, gid, mode in (
            (self.spool, 0, self.mail, 0o2775),
            (state, owner.pw_uid, owner.pw_gid, 0o700),
            (home, 0, 0, 0o700),
        ):
            path.mkdir()
            os.chown(path, uid, gid)
            path.chmod(mode)
        self.owner = owner
        self.user = system_user(self, "one", "secret", "-d", str(home))
        private = system_user(self, "two", None)
        ids = pwd.getpwnam(self.user)
        os.chown(home, ids.pw_uid, ids.pw_gid)
        (home / ".forward").write_text("bob\n")
        (home / ".forward").chmod(0o600)
        os.chown(home / ".forward", ids.pw_uid, ids.pw_gid)
        mailbox = self.spool / private
        mailbox.write_bytes(b"From old\n\nzero\n\n")
        mailbox.chmod(0o600)
        self.private = pwd.getpwnam(private)
        os.chown(mailbox, self.private.pw_uid, self.private.pw_gid)
        fixed = folder / "fixed"  # below /tmp, which is everybody's: not the guard's to hand over
        fixed.write_text("for everybody")
        fixed.chmod(0o644)
        told = {
            "owner": owner.pw_name,
            "spool": str(self.spool),
            "state": str(state),
            "service": pam_service(self, PAM),
            "user": self.user,
            "password": "secret",
            "private": private,
            "private ids": [self.private.pw_uid, self.private.pw_gid],
            "fixed": str(fixed),
            "signer": "tests.rights.signing:sign",
        }
        self.process = subprocess.Popen(
            [sys.executable, experiment.__file__, json.dumps(told)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd="/",
        )
        self.addCleanup(self.end)

    def end(self) -> None:
        """However it went."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()

    def said(self) -> dict[str, Any]:
        """The next object that the process says."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.assertTrue(line, "it ended; its standard error says why")
        return dict(json.loads(line))

    def test_everything_that_needs_root_is_done_by_the_guard_for_a_service_without_any_right(self) -> None:
        said = self.said()
        person = pwd.getpwnam(self.user)
        self.assertEqual(
            {
                name: said[name]
                for name in ("right password", "wrong password", "forward", "created", "shadow", "fixed")
            },
            {
                "right password": True,
                "wrong password": False,
                "forward": "bob\n",
                "created": True,
                "shadow": True,
                "fixed": "for everybody",
            },
        )
        self.assertEqual(said["mailbox"], [person.pw_uid, self.mail, 0o660])
        self.assertEqual(said["made_by"], self.owner.pw_uid)
        self.assertEqual(said["signed"], "a request, fixed at the start, uid 0")
        self.assertIn("MailboxUnsafe", said["link"])
        self.assertIn("the guard knows no user", said["not a person"])
        self.assertEqual(said["not named at the start"], 13)
        self.assertIn(b"two", (self.spool / self.private.pw_name).read_bytes())
        self.assertEqual((self.spool / self.private.pw_name).stat().st_uid, self.private.pw_uid)
        self.assertEqual((self.spool / "of-a-passwd-file").stat().st_uid, self.owner.pw_uid)

        service, guard = said["pids"]["service"], said["pids"]["parent"]
        rights = Rights.of(service)
        self.assertEqual((rights.uids, rights.gids), ((self.owner.pw_uid,) * 4, (self.owner.pw_gid,) * 4))
        self.assertEqual(rights.groups, {self.owner.pw_gid, self.mail})
        self.assertEqual((rights.capabilities, rights.no_new_privileges), ((), True))
        for thread in os.listdir(f"/proc/{service}/task"):
            self.assertEqual(Rights.of(f"{service}/task/{thread}"), rights)
        self.assertLess(said["port"], 1024)

        root = Rights.of(guard)
        self.assertEqual((root.uids, root.threads), ((0,) * 4, 1))
        wait_for(lambda: sockets(guard) == 2, str)  # its channels; and for a moment that of a helper it starts
        helpers = [
            pid for pid in children(guard) if b"signer" not in (program(pid) or b"signer")
        ]  # which has just ended
        self.assertGreaterEqual(len(helpers), 4)
        for helper in helpers:
            self.assertEqual(len(os.listdir(f"/proc/{helper}/fd")) - sockets(helper), 3)  # /dev/null
            self.assertIn(sockets(helper), (1, 2))  # its channel, twice for those who read and write it apart

    def test_stopping_the_service_ends_the_guard_and_its_helpers(self) -> None:
        guard = self.said()["pids"]["parent"]
        family = [guard, *children(guard)]
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.assertEqual(self.process.wait(20), 0)
        self.all_gone(family)

    def test_a_service_that_is_killed_takes_the_guard_along(self) -> None:
        guard = self.said()["pids"]["parent"]
        family = [guard, *children(guard)]
        self.process.kill()
        self.process.wait()
        self.all_gone(family)

    def test_a_guard_that_is_killed_is_missed_at_once(self) -> None:
        guard = self.said()["pids"]["parent"]
        family = [guard, *children(guard)]
        os.kill(guard, signal.SIGKILL)
        self.assertIn("root parent is lost", self.said()["lost"])
        self.assertEqual(self.process.wait(20), 3)
        self.all_gone(family)

    def all_gone(self, pids: list[int]) -> None:
        """Nobody of them is left, soon."""
        end = time.monotonic() + 10
        while any(os.path.exists(f"/proc/{pid}") for pid in pids):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.02)
