"""kill -9 during delivery, again and again:  python -m tests.spool.crash --rounds 50 --seed 1

Each round a child process takes in messages for one to five mailboxes, several at a time, prints what it would answer with 250,
and is killed at some moment. In some rounds another program then appends to the mailboxes, in some the recovery is killed
too. Then recovery runs, and it must hold: every message that was answered stands whole in each of its mailboxes, once; every
other one stands in all of its mailboxes or in none; what others wrote is there; and there is nothing else.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.delivery.house import House

ROOT = Path(__file__).resolve().parents[2]
USERS = ("ann", "bob", "eve", "joe", "zoe")
OLD = b"From old  Mon Nov 23 12:00:00 2026\n\nold\n\n"
_TOKEN = re.compile(rb"^Subject: (\S+)$", re.MULTILINE)


class Wrong(AssertionError):
    """The promise is broken."""


def text_of(token: str) -> bytes:
    """The message that a token stands for: ``round-number-recipients-size``. Lines of it would be torn visibly."""
    size = int(token.rsplit("-", 1)[1])
    line = f"From {token} is quoted, the rest is filled up\r\n".encode()
    return f"Subject: {token}\r\n\r\n".encode() + line * (size // len(line)) + b"the end\r\n"


def stored(token: str) -> bytes:
    """The same as it must stand in a mailbox, from its Subject on."""
    head, _, body = text_of(token).replace(b"\r\n", b"\n").partition(b"\n\n")
    return head + b"\n\n" + body.replace(b"From ", b">From ") + b"\n"


# the child


def die_at(count: int, chance: random.Random) -> None:
    """Kill ourselves at the system call of that number, a write half done: a clock alone seldom hits the moment of the append."""
    counted = [0]

    def deadly(name: str, real: Any) -> Any:
        def call(fd: Any, *args: Any, **kwargs: Any) -> Any:
            counted[0] += 1
            if counted[0] < count:
                return real(fd, *args, **kwargs)
            if name in ("write", "pwrite") and fd != 1:
                real(fd, bytes(args[0])[: chance.randint(0, len(args[0]))], *args[1:])
            return os.kill(os.getpid(), signal.SIGKILL)

        return call

    for name in ("write", "pwrite", "fsync", "fdatasync", "unlink", "ftruncate"):
        setattr(os, name, deadly(name, getattr(os, name)))


def deliver_for_ever(folder: str, seed: int, fatal: int) -> None:
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred
    from twisted.internet.threads import deferToThread

    house = House(folder, *USERS, in_thread=deferToThread, clock=reactor, wall=time.time)
    house.recovery.run()
    chance = random.Random(seed)
    os.write(1, b"ready\n")
    if fatal:
        die_at(fatal, chance)

    async def one_client(name: str) -> None:
        number = 0
        while True:
            number += 1
            to = chance.sample(USERS, chance.randint(1, 5))
            size = chance.choice((100, 3_000, 60_000, 200_000, 1_500_000))
            token = f"{name}{number}-{'.'.join(sorted(to))}-{size}"
            await house.send(text_of(token), *to, size=65_536)
            os.write(1, token.encode() + b"\n")

    for name in "ABCD":
        Deferred.fromCoroutine(one_client(name)).addErrback(lambda failure: os.write(2, str(failure).encode()))
    reactor.run()  # type: ignore[attr-defined]


def recover(folder: str) -> list[str]:
    house = House(folder, *USERS)
    house.recovery.run()
    house.close()
    return house.report


# the parent


class Round:
    def __init__(self, folder: str, chance: random.Random, wait: float) -> None:
        self.folder = folder
        self.spool = Path(folder) / "mail"
        self.chance = chance
        self.wait = wait
        self.before: dict[str, bytes] = {}
        self.behind: dict[str, list[bytes]] = {name: [] for name in USERS}
        self.answered: list[str] = []
        self.undone = 0

    def play(self) -> None:
        self.spool.mkdir(parents=True)
        for name in USERS:
            self.before[name] = self.chance.choice((b"", OLD, OLD.rstrip(b"\n")))
            self.write(name, self.before[name])
        self.answered = self.run_and_kill("--child")
        if self.chance.random() < 0.5:
            self.another_program()
        size = self.size()
        if self.chance.random() < 0.3:
            self.run_and_kill("--recover")
        told = recover(self.folder)
        self.undone = size - self.size()
        if any("left as it is" in line for line in told):
            raise Wrong("\n".join(told))
        self.check()

    def size(self) -> int:
        return sum((self.spool / name).stat().st_size for name in USERS)

    def write(self, name: str, octets: bytes) -> None:
        path = self.spool / name
        path.write_bytes(octets)
        path.chmod(0o600)

    def run_and_kill(self, role: str) -> list[str]:
        """What it printed after ``ready``, complete lines only."""
        fatal = 0 if role == "--recover" or self.chance.random() < 0.3 else self.chance.randint(1, 600)
        command = [sys.executable, "-m", "tests.spool.crash", role, self.folder]
        command += ["--seed", str(self.chance.randrange(1 << 30)), "--fatal", str(fatal)]
        # It prints to a file: a pipe that nobody reads would hold it up before it comes to die.
        with tempfile.TemporaryFile() as printed, subprocess.Popen(command, stdout=printed, cwd=ROOT) as child:
            try:
                ready = time.monotonic() + 20
                while os.fstat(printed.fileno()).st_size == 0 and time.monotonic() < ready and child.poll() is None:
                    time.sleep(0.005)
                child.wait(10 if fatal else self.chance.uniform(0, self.wait))
            except subprocess.TimeoutExpired:
                pass
            finally:
                child.kill()
                child.wait()
            printed.seek(0)
            first, *lines = printed.read().decode().split("\n")
        if first != "ready":
            raise Wrong("the child did not begin")
        return lines[:-1]

    def another_program(self) -> None:
        """As Postfix and procmail append: behind whatever stands there, without looking at it."""
        for name in USERS:
            for number in range(self.chance.randint(0, 2)):
                message = (
                    f"From other@x  Mon Nov 23 12:00:0{number} 2026\nX: {self.chance.random()}\n\nother\n\n".encode()
                )
                with open(self.spool / name, "ab") as file:
                    file.write(message)
                self.behind[name].append(message)

    def check(self) -> None:
        standing: Counter[tuple[str, str]] = Counter()
        for name in USERS:
            rest = (self.spool / name).read_bytes()
            if not rest.startswith(self.before[name]):
                raise Wrong(f"{name}: what stood there before has changed")
            rest = rest[len(self.before[name]) :]
            for message in self.behind[name]:
                if rest.count(message) != 1:
                    raise Wrong(f"{name}: another program's message is there {rest.count(message)} times")
                rest = rest.replace(message, b"")
            # Every message of ours begins at a "From " line, and is one whole stored text: nothing may be left over.
            for piece in re.split(rb"(?m)^(?=From julien@lan\.example  )", rest.lstrip(b"\n")):
                if piece.strip(b"\n"):
                    standing[name, self.token_of(name, piece)] += 1
        for (name, token), count in standing.items():
            if count != 1:
                raise Wrong(f"{name}: {token} is there {count} times")
        present = {token for _, token in standing}
        for token in present.union(self.answered):
            to = token.split("-")[1].split(".")
            there = [name for name in to if (name, token) in standing]
            if there != to:
                raise Wrong(f"{token} ({'answered' if token in self.answered else 'not answered'}) is only in {there}")
        if any(os.listdir(os.path.join(self.folder, "state", kind)) for kind in ("incoming", "intents")):
            raise Wrong("something is left in the spool")

    @staticmethod
    def token_of(name: str, piece: bytes) -> str:
        found = _TOKEN.search(piece)
        if found is None:
            raise Wrong(f"{name}: a torn message: {piece[:200]!r}")
        token = found[1].decode()
        if piece[found.start() :] not in (stored(token), stored(token) + b"\n"):
            raise Wrong(f"{name}: {token} is not whole: {len(piece)} octets")
        return token


def play(rounds: int, seed: int, folder: str, wait: float = 0.5) -> str:
    """So many rounds; a line about them. Raises Wrong, and leaves that round's folder."""
    chance = random.Random(seed)
    answered = torn = 0
    for number in range(rounds):
        one = Round(os.path.join(folder, str(number)), chance, wait)
        try:
            one.play()
        except Wrong as wrong:
            raise Wrong(f"round {number} of seed {seed}, in {one.folder}: {wrong}") from wrong
        answered += len(one.answered)
        torn += one.undone > 0
        shutil.rmtree(one.folder)
    return f"{rounds} rounds, {answered} messages answered and all there once, {torn} rounds with something to undo"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--recover", help=argparse.SUPPRESS)
    parser.add_argument("--fatal", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        deliver_for_ever(options.child, options.seed, options.fatal)
    elif options.recover:
        os.write(1, b"ready\n")
        recover(options.recover)
    else:
        print(play(options.rounds, options.seed, tempfile.mkdtemp(prefix="lanmail-crash-")))


if __name__ == "__main__":
    main()
