"""A whole server for a test: a real process, real ports on loopback, a spool of its own; and real system users where root may make them."""

from __future__ import annotations

import atexit
import contextlib
import functools
import grp
import os
import pwd
import random
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from twisted.trial.unittest import SkipTest

from lanmail.accounts.hashes import hash_password

ROOT = Path(__file__).resolve().parent.parent
A_MOMENT = 3.0  # seconds in which what can be delivered is
PATIENCE = 20.0  # seconds until something that should happen at once is called a failure


_given: set[int] = set()


def free_port() -> int:
    """A port of loopback that nobody listens on just now, and that this process has not given before.

    Not one of those from which the kernel takes clients' (32768 and up): it would be some connection's by the time a server wants it.
    """
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            if port not in _given:
                _given.add(port)
                return port


def mail_owner() -> str:
    """Whoever runs the tests; for root, who may not be it, the account that a set-up makes, or Debian's own ``mail``."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name
    try:
        return pwd.getpwnam("lanmail").pw_name
    except KeyError:
        return "mail"


def let_through(folder: Path) -> None:
    """Everybody, ``mail_owner`` too, may pass through the folder and those above it, which trial makes for the user alone who runs it."""
    for above in (folder, *folder.parents):
        if not above.stat().st_mode & 0o001:
            above.chmod(above.stat().st_mode | 0o111)


class Server:
    """One lanmail process with a main.cf in ``folder`` (made where missing). ``extra`` lines win over those given here.

    people: names and passwords for the passwd-file, instead of ACCOUNTS.
    """

    ACCOUNTS: ClassVar = {"julien": "dianaël", "nel": "secret-of-nel"}

    def __init__(
        self,
        folder: str,
        extra: str = "",
        accounts: str = "passwd-file",
        owner: str | None = None,
        people: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = Path(folder).resolve()
        self.spool = self.folder / "mail"
        self.queue = self.folder / "queue"
        self.spool.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            self._as_an_administrator_has_it()
        self.smtp, self.pop3 = free_port(), free_port()
        self.log = self.folder / "log"
        self.main_cf = self.folder / "main.cf"
        self.process: subprocess.Popen[bytes] | None = None
        if accounts == "passwd-file":
            self.passwd = self.folder / "passwd"
            self.passwd.write_text("".join(f"{n}:{_hashed(p)}\n" for n, p in (people or self.ACCOUNTS).items()))
            self.passwd.chmod(0o600)
            if os.geteuid() == 0:
                # The guard hands over no file from a folder below /tmp, where others than root could put another in its place.
                shutil.chown(self.passwd, owner or mail_owner())
            accounts = f"passwd-file:{self.passwd}"
        self.main_cf.write_text(
            f"""\
myhostname = srvlinux.iscb-corporation.com
mydomain = iscb-corporation.com
mydestination = $mydomain, $myhostname, localhost.$mydomain, localhost
myorigin = $mydomain
inet_interfaces = 127.0.0.1
mynetworks = 127.0.0.0/8
queue_directory = {self.queue}
data_directory = {self.folder / "data"}
mail_spool_directory = {self.spool}
mail_owner = {owner or mail_owner()}
accounts = {accounts}
alias_maps =
alias_database =
smtp_port = {self.smtp}
pop3_port = {self.pop3}
smtpd_error_sleep_time = 0
message_size_limit = 52428800
mailbox_size_limit = 0
{extra}
"""
        )

    def _as_an_administrator_has_it(self) -> None:
        """The spool is group mail's, and ``mail_owner`` may pass through the folders above (trial's are root's alone)."""
        os.chown(self.spool, 0, grp.getgrnam("mail").gr_gid)
        self.spool.chmod(0o2775)
        let_through(self.folder)

    def command(self) -> Sequence[str]:
        return (sys.executable, "-m", "twisted", "lanmail", "--config", str(self.main_cf))

    def start(self, command: Sequence[str] | None = None, cwd: str | None = None) -> Server:
        """Run until the ports answer. AssertionError with the log where they do not."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT)} if cwd != "/" else None
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command or self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=cwd or ROOT,
                env=environment,
            )
        wait_for(lambda: all(self._answers(port) for port in (self.smtp, self.pop3)), self.describe, self.process)
        return self

    def _answers(self, port: int) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
                return bool(sock.recv(1))
        except OSError:
            return False

    def listens(self) -> bool:
        """Whether the SMTP port takes connections."""
        return self._answers(self.smtp)

    def describe(self) -> str:
        return self.log.read_text(errors="replace")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ends the process, if it runs; its exit status."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def resident(self, what: str = "VmRSS") -> int:
        """Octets of memory that the process has now; ``VmHWM``: the most that it ever had."""
        assert self.process is not None
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == what:
                return int(value.split()[0]) * 1024
        raise AssertionError(f"/proc says nothing of {what}")

    def put_mailbox(self, name: str, text: bytes) -> Path:
        """A mailbox of an account of the passwd-file, as some other program wrote it."""
        path = self.spool / name
        self.wait_until_delivered()
        draft = path.with_name(f".{name}")  # the server must not find it while it is root's
        draft.write_bytes(text)
        if os.geteuid() == 0:
            os.chown(draft, pwd.getpwnam(mail_owner()).pw_uid, -1)
        return draft.rename(path)

    def mailbox(self, name: str) -> bytes:
        """Its octets, once what came in was delivered."""
        self.wait_until_delivered()
        try:
            return (self.spool / name).read_bytes()
        except FileNotFoundError:
            return b""

    def wait_until_delivered(self) -> None:
        """Until all that came in has been tried; for what somebody holds locked, no longer than a moment."""
        end = time.monotonic() + A_MOMENT
        while self.undelivered() and time.monotonic() < end:
            time.sleep(0.01)

    def undelivered(self) -> int:
        """How many recipients of the journal were never tried, or are being delivered."""
        if self.process is None or self.process.poll() is not None:
            return 0
        return sum(map(_never_tried, (self.queue / "lanmail").glob("journal-?")))


def _never_tried(journal: Path) -> int:
    with contextlib.closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True, timeout=5)) as connection:
        rows = connection.execute("SELECT count(*) FROM recipient WHERE tries = 0 AND marked = 0 AND held = 0")
        return int(rows.fetchone()[0])


_hashed = functools.cache(hash_password)  # a good hash is slow, and tests have one password for many people


def shared(make: Callable[[str], Server]) -> Callable[[], Server]:
    """A server for all tests of a module, started when the first asks for it, ended with the test run.

    make: gets the server's folder, and gives the server, not yet started. (Trial has no setUpClass.)
    """

    @functools.cache
    def server() -> Server:
        folder = tempfile.mkdtemp(prefix="lanmail-tests-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        made = make(folder)
        atexit.register(made.stop)
        return made.start()

    return server


def wait_for(condition: object, describe: object, process: subprocess.Popen[bytes] | None = None) -> None:
    """Look again and again, for PATIENCE seconds at most, until ``condition()`` is true."""
    assert callable(condition) and callable(describe)
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end or (process is not None and process.poll() is not None):
            raise AssertionError(f"it did not happen; status {process.poll() if process else None}\n{describe()}")
        time.sleep(0.02)


@contextlib.contextmanager
def descriptors() -> Iterator[int]:
    """All that this process may have, for as long as they are needed. How many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def need(*programs: str) -> None:
    """SkipTest that names the first of ``programs`` that is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            raise SkipTest(f"{program} is not installed")


@contextlib.contextmanager
def system_users(**passwords: str) -> Iterator[None]:
    """Real accounts with the shell nologin, as the dossier makes them, removed afterwards. Never touches one that was there."""
    if os.geteuid() != 0:
        raise SkipTest("only root can make system users")
    made = []
    try:
        for name, password in passwords.items():
            with contextlib.suppress(KeyError):
                pwd.getpwnam(name)
                raise SkipTest(f"this machine has a user {name} of its own")
            subprocess.run(["useradd", "-M", "-s", "/sbin/nologin", name], check=True)
            made.append(name)
            subprocess.run(["chpasswd"], input=f"{name}:{password}\n".encode(), check=True)
        yield
    finally:
        for name in made:
            subprocess.run(["userdel", name], check=True, stderr=subprocess.DEVNULL)
