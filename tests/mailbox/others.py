"""Other programs that read and write mbox files, asked for real. Where one is missing, the test that needs it says so."""

from __future__ import annotations

import os
import pty
import pwd
import re
import select
import shutil
import subprocess
import tempfile
import time

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from lanmail.mailbox.index import Index, refresh

CORPUS = os.path.join(os.path.dirname(__file__), "corpus")

_PATIENCE = 30.0  # seconds for one run of a program; it takes a tenth of one


def corpus() -> list[str]:
    """The names of its files."""
    return sorted(name for name in os.listdir(CORPUS) if name.endswith(".mbox"))


def content(name: str) -> bytes:
    with open(os.path.join(CORPUS, name), "rb") as file:
        return file.read()


def index_of(path: str, previous: Index | None = None) -> Index:
    """lanmail's index of the file as it is now."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return refresh(fd, os.fstat(fd), previous)
    finally:
        os.close(fd)


def needs(program: str) -> None:
    if shutil.which(program) is None:
        raise SkipTest(f"{program} is not installed")


def mutt(path: str, keys: str, *settings: str) -> None:
    """Open the mailbox in mutt, in a terminal, and press keys."""
    needs("mutt")
    with tempfile.TemporaryDirectory() as home:
        muttrc = os.path.join(home, "muttrc")
        with open(muttrc, "w", encoding="utf-8") as file:
            file.write(
                # a folder that is there, or mutt asks whether to make one and takes the first key for the answer
                f"set folder={home}\n"
                "set mbox_type=mbox\nset move=no\nset delete=yes\nset quit=yes\nset confirmappend=no\nset confirmcreate=no\n"
                "set wait_key=no\nset pipe_split=yes\nset copy=no\nset sort=mailbox-order\nset prompt_after=no\nset resolve=no\n"
            )
            file.writelines(f"set {setting}\n" for setting in settings)
        master, slave = pty.openpty()
        process = subprocess.Popen(
            ["mutt", "-n", "-F", muttrc, "-f", path, "-e", f'push "{keys}"'],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={"HOME": home, "TMPDIR": home, "TERM": "xterm", "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )
        os.close(slave)
        try:
            deadline = time.monotonic() + _PATIENCE
            while process.poll() is None:
                if time.monotonic() > deadline:
                    raise AssertionError(f"mutt does not end by itself after {keys}")
                if select.select([master], [], [], 0.02)[0]:
                    try:
                        os.read(master, 4096)
                    except OSError:  # the other side of the terminal was closed
                        process.wait(_PATIENCE)
        finally:
            process.kill()
            process.wait()
            os.close(master)


def mutt_count(path: str) -> int:
    """How many messages mutt sees in the mailbox."""
    with tempfile.TemporaryDirectory() as folder:
        copy, tally = os.path.join(folder, "mbox"), os.path.join(folder, "tally")
        shutil.copyfile(path, copy)
        mutt(
            copy,
            f"<tag-pattern>~A<enter><tag-prefix><pipe-message>echo x >> {tally}<enter><exit>",
            "delete=no",
        )
        with open(tally, encoding="ascii") as file:
            return len(file.readlines())


class Dovecot:
    """Dovecot's mbox storage without its server, on a mailbox of its own."""

    def __init__(self, test: SynchronousTestCase, mailbox: bytes) -> None:
        needs("doveadm")
        # It refuses to work for root.
        user = pwd.getpwnam("mail") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
        # Not below trial's folder: that user must be able to reach it.
        self._folder = tempfile.mkdtemp()
        test.addCleanup(shutil.rmtree, self._folder)
        self.path = os.path.join(self._folder, "mbox")
        home = os.path.join(self._folder, "home")
        os.makedirs(home)
        with open(self.path, "wb") as file:
            file.write(mailbox)
        for path in (self._folder, home, self.path):
            os.chown(path, user.pw_uid, user.pw_gid)
        self._configuration = os.path.join(self._folder, "dovecot.conf")
        with open(self._configuration, "w", encoding="ascii") as file:
            file.write(
                f"log_path = /dev/stderr\nssl = no\nmail_uid = {user.pw_uid}\nmail_gid = {user.pw_gid}\n"
                "first_valid_uid = 1\nfirst_valid_gid = 1\nmbox_read_locks = fcntl\nmbox_write_locks = fcntl\n"
                f"mail_location = mbox:{home}:INBOX={self.path}:INDEX=MEMORY\n"
            )
        self._environment = {"HOME": home, "USER": user.pw_name, "PATH": os.environ["PATH"]}

    def __call__(self, *command: str) -> str:
        done = subprocess.run(
            ["doveadm", "-c", self._configuration, *command],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        return done.stdout

    def count(self) -> int | None:
        """How many messages it sees; None where it takes the file for no mbox."""
        found = re.search(r"messages=(\d+)", self("mailbox", "status", "messages", "INBOX"))
        return int(found[1]) if found else None
