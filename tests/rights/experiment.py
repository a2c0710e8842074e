"""A service in small, for test_experiment: starts the guard, binds a low port, gives root up, and then does through the guard what
it may not.

Run as root by its path, with a JSON object of what there is. Says what came of it as a JSON object, and ends when its input does.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import socket
import stat
import sys
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ServerFactory
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from lanmail.accounts.helper import CHECK_PASSWORD, FIND_USER
from lanmail.accounts.homes import forward_files
from lanmail.accounts.pam import SystemGuards
from lanmail.interfaces import User
from lanmail.mailbox.store import Locking, MailboxFile
from lanmail.rights import parent
from lanmail.rights.asking import Asking
from lanmail.rights.duties import Duties
from lanmail.rights.launching import Launching
from lanmail.rights.loading import load_now
from lanmail.rights.openers import GuardedFiles, GuardedOpener
from lanmail.rights.privileges import acting_as, drop
from lanmail.rights.starting import pam_folder, start

reactor: Any = global_reactor


def low_port() -> socket.socket:
    """A listening socket on a port that only root can have."""
    for port in range(600, 1024):
        sock = socket.socket()
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            sock.close()
            continue
        sock.listen()
        return sock
    raise RuntimeError("no port is free")


def report(line: str, /, **fields: object) -> None:
    """To the test's eyes, where something is wrong."""
    print(line.format(**fields), file=sys.stderr)


class Experiment:
    """The steps, in the order that service.py has them in."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.told = told
        owner = pwd.getpwnam(told["owner"])
        mail = grp.getgrnam("mail").gr_gid
        self.out: dict[str, Any] = {}
        duties = Duties(
            spool=told["spool"],
            uids=[(1000, 65533)],
            pam_service=told["service"],
            pam_folder=pam_folder(),
            group=mail,
            files=["/etc/shadow", told["fixed"]],
            signer=told["signer"],
            argument="fixed at the start",
            folders=sys.path,
        )
        channels = start(duties)
        port = low_port()
        load_now()
        with acting_as(owner.pw_uid, owner.pw_gid), open(os.path.join(told["state"], "made-before"), "wb") as file:
            self.out["made_by"] = os.fstat(file.fileno()).st_uid
        drop(owner.pw_uid, owner.pw_gid, [mail])
        reactor.adoptStreamPort(port.fileno(), socket.AF_INET, ServerFactory())
        self.out["port"] = port.getsockname()[1]
        port.close()
        self.launching = Launching(channels.loop, reactor)
        self.launching.start()
        self.launching.lost.addCallback(self.lost)
        self.asking = Asking(channels.threads)
        self.opener = GuardedOpener(self.asking, mail)
        self.files = GuardedFiles(self.asking, duties.files)
        launches = tuple(map(self.launching.launch, (parent.PASSWORDS, parent.NAMES, parent.HOMES)))
        self.guards = SystemGuards(reactor, told["service"], report, launches=launches)  # type: ignore[arg-type]
        self.out["pids"] = {"service": os.getpid(), "parent": channels.process.pid}

    async def run(self) -> None:
        """Everything that root is needed for, by somebody who is not."""
        ask, name = self.guards.passwords.ask, self.told["user"].encode()
        self.out["right password"] = (
            await ask(CHECK_PASSWORD, name, self.told["password"].encode(), b"", name="u")
        ).yes
        self.out["wrong password"] = (await ask(CHECK_PASSWORD, name, b"wrong", b"", name="u")).yes
        found = await self.guards.names.ask(FIND_USER, name)
        user = User(found.fields[0].decode(), int(found.fields[1]), int(found.fields[2]), found.fields[3].decode())
        forward = await forward_files(self.guards.homes)(user, [".forward"])
        self.out["forward"] = forward.text.decode() if forward else None
        await deferToThread(self.open_mailboxes, user)
        self.out["signed"] = (await deferToThread(self.asking.sign, b"a request")).decode()

    def open_mailboxes(self, user: User) -> None:
        """In a thread, as deliveries are."""
        path = os.path.join(self.told["spool"], user.name)
        with self.mailbox(user).lock(create=True) as mailbox:
            self.out["created"] = mailbox.created
            mailbox.append([b"From new\n\none\n"])
            facts = os.stat(path)
            self.out["mailbox"] = [facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode)]
        os.unlink(path)  # as group mail may
        os.symlink("/etc/passwd", path)
        self.out["link"] = self.refusal(user)
        os.unlink(path)
        other = User(self.told["private"], *self.told["private ids"])
        with self.mailbox(other).lock(create=False) as mailbox:
            mailbox.append([b"From other\n\ntwo\n"])
        ours = User("of-a-passwd-file", os.getuid(), os.getgid())
        with self.mailbox(ours).lock(create=True) as mailbox:
            mailbox.append([b"From ours\n\nthree\n"])
        self.out["not a person"] = self.refusal(User("daemon", 1, 1))
        self.out["shadow"] = b"root:" in self.files.read("/etc/shadow")
        self.out["fixed"] = self.files.read(self.told["fixed"]).decode()
        try:
            self.files.read("/etc/gshadow")
        except OSError as error:
            self.out["not named at the start"] = error.errno

    def mailbox(self, user: User) -> MailboxFile:
        """As service.py makes them."""
        return MailboxFile(
            os.path.join(self.told["spool"], user.name),
            user,
            group=grp.getgrnam("mail").gr_gid,
            locking=Locking(),
            state_folder=self.told["state"],
            report=lambda *_, **__: None,
            opener=self.opener,
        )

    def refusal(self, user: User) -> str:
        """Why it is not opened."""
        try:
            self.mailbox(user).lock(create=True).release()
        except Exception as failure:
            return f"{type(failure).__name__}: {getattr(failure, 'detail', failure)}"
        return ""

    def lost(self, why: str) -> None:
        """As the service ends then."""
        print(json.dumps({"lost": why}), flush=True)
        os._exit(3)

    def show(self, _: object) -> None:
        """What came of it; then wait for the test to look at us."""
        print(json.dumps(self.out), flush=True)
        deferToThread(sys.stdin.read).addCallback(self.stop)

    def stop(self, _: object) -> None:
        """As stopService does it. What threads do is over before: without the loop's channel the parent ends, and all helpers."""
        self.guards.stop().addCallback(lambda _: self.launching.stop()).addCallback(
            lambda _: self.asking.close()
        ).addCallback(lambda _: reactor.stop())

    def failed(self, failure: Failure) -> None:
        """The test sees the traceback."""
        failure.printTraceback(sys.stderr)
        os._exit(1)


if __name__ == "__main__":
    experiment = Experiment(json.loads(sys.argv[1]))
    reactor.callWhenRunning(
        lambda: Deferred.fromCoroutine(experiment.run()).addCallback(experiment.show).addErrback(experiment.failed)
    )
    reactor.run()
