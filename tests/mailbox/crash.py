"""``kill -9`` while a mailbox is written to: ``python -m tests.mailbox.crash --rounds 50 [--seed 1]``.

Each round a child appends to a mailbox and takes messages out of it, again and again, and is killed at a random moment. Before each
thing that it does it says what it will do, and after it that it is done; so the parent, which opens the mailbox as the program does
at the next use, knows the two states that it may be in, octet for octet. Half of the rounds another program delivers in between.

Where the window of an expunge is small there are many moments to be killed at; its size is drawn too.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field

from lanmail.interfaces import User
from lanmail.mailbox import expunge
from lanmail.mailbox.store import Locking, MailboxFile


@dataclass
class Outcome:
    """What the rounds came to."""

    rounds: int = 0
    in_expunge: int = 0  # killed between "begin" and "done" of taking out
    in_append: int = 0
    journals: int = 0  # found a journal to be finished
    as_before: int = 0
    as_after: int = 0
    expunges: int = 0  # done, in all children together
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.rounds} rounds, {self.expunges} expunges done; killed in an expunge {self.in_expunge}, in an append "
            f"{self.in_append}; found as before {self.as_before}, as after {self.as_after}, "
            f"with a journal to finish {self.journals}; faults {len(self.faults)}"
        )


def silent(line: str, /, **fields: object) -> None:
    """Nobody reads it here."""


def mailbox_in(folder: str) -> MailboxFile:
    user = User("ann", os.geteuid(), os.getegid())
    path = os.path.join(folder, "ann")
    return MailboxFile(path, user, group=None, locking=Locking(), state_folder=folder, report=silent)


def message(chance: random.Random, number: int) -> bytes:
    body = bytes(chance.choice(b"abcdefgh \n") for _ in range(chance.choice([10, 300, 3000]))) * chance.choice(
        [1, 1, 1, 40]
    )
    return b"From ann Mon Jan  1 00:00:00 2024\nX-Number: %d\n\n" % number + body.replace(b"\n\n", b"\n") + b"\n\n"


def plan(chance: random.Random, sizes: list[int], number: int) -> tuple[str, list[int], bytes]:
    """What to do next, and to which messages: the child and the parent draw the same."""
    if len(sizes) < 4 or (len(sizes) < 40 and chance.random() < 0.5):
        return "append", [], message(chance, number)
    return "expunge", sorted(chance.sample(range(len(sizes)), chance.randint(1, min(6, len(sizes) - 1)))), b""


def ranges_of(sizes: list[int], chosen: list[int]) -> list[tuple[int, int]]:
    return [(sum(sizes[:n]), sum(sizes[: n + 1])) for n in chosen]


def child(folder: str, seed: str, window: int) -> None:
    """Work until killed. ``sizes`` come on standard input; what is begun and done goes to standard output, unbuffered."""
    expunge.take_out.__kwdefaults__["window"] = window  # as if mailboxes were so much larger
    chance = random.Random(seed)
    sizes = [int(word) for word in sys.stdin.readline().split()]
    mailbox = mailbox_in(folder)
    number = 0
    while True:
        number += 1
        what, chosen, text = plan(chance, sizes, number)
        os.write(1, b"begin\n")
        with mailbox.lock(create=False) as held:
            if what == "append":
                held.append([text])
                held.sync()
                sizes.append(len(text))
            else:
                held.take_out(ranges_of(sizes, chosen))
                sizes = [size for n, size in enumerate(sizes) if n not in chosen]
        os.write(1, b"done\n")


def play(folder: str, rounds: int, seed: int, hits: int = 0, most: int = 0) -> Outcome:
    """So many rounds with a mailbox in that folder, and up to ``most`` until so many were killed in the middle of either kind of work."""
    outcome = Outcome()
    chance = random.Random(seed)
    messages = [message(chance, n) for n in range(30)]
    path = os.path.join(folder, "ann")
    with open(path, "wb") as file:
        file.write(b"".join(messages))
    for turn in range(max(rounds, most)):
        if turn >= rounds and min(outcome.in_expunge, outcome.in_append) >= hits:
            break
        window = chance.choice([512, 4096, 65536, 16 << 20])
        words = killed(folder, f"{seed} {turn}", window, messages, chance.uniform(0.0, 0.25))
        messages = check(folder, f"{seed} {turn}", words, messages, outcome, chance)
        outcome.rounds += 1
    return outcome


def killed(folder: str, seed: str, window: int, messages: list[bytes], moment: float) -> list[str]:
    """Run a child and kill it so many seconds after its first word; the words that it said."""
    command = [sys.executable, "-m", "tests.mailbox.crash", "--child", folder, "--seed", seed, "--window", str(window)]
    top = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=top)
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    process.stdin.write((" ".join(str(len(text)) for text in messages) + "\n").encode())
    process.stdin.close()
    said = process.stdout.readline()
    time.sleep(moment)
    process.send_signal(signal.SIGKILL)
    said += process.stdout.read()
    complaint = process.stderr.read().decode()
    process.stdout.close()
    process.stderr.close()
    if process.wait() != -signal.SIGKILL:
        raise RuntimeError(complaint)
    return said.decode().split()


def check(
    folder: str, seed: str, words: list[str], messages: list[bytes], outcome: Outcome, chance: random.Random
) -> list[bytes]:
    """Follow what the child did, open the mailbox at the next use, and see; the messages that are in it now."""
    replay = random.Random(seed)
    number = 0
    before = after = list(messages)
    what = ""
    for word in words:
        if word == "begin":
            number += 1
            what, chosen, text = plan(replay, [len(each) for each in before], number)
            gone = set(chosen)
            after = [*before, text] if what == "append" else [each for n, each in enumerate(before) if n not in gone]
        else:
            outcome.expunges += what == "expunge"
            before = after
    if before is not after:
        outcome.in_expunge += what == "expunge"
        outcome.in_append += what == "append"
    outcome.journals += bool(expunge.interrupted(folder))
    if what == "append" and before is not after:
        # An append is not whole by itself after a kill: the length noted before it says where to cut (``lanmail.spool``).
        cut_append(folder, before, after)
    others: list[bytes] = []
    if chance.random() < 0.5:
        others = [b"From other Mon Jan  1 00:00:00 2024\n\n" + seed.encode() + b"\n\n"]
        with open(os.path.join(folder, "ann"), "ab") as file:
            file.write(others[0])
    with mailbox_in(folder).lock(create=False) as held:
        found = os.pread(held.fd, held.length(), 0)
    for name, state in (("as_before", before), ("as_after", after)):
        if found == b"".join([*state, *others]):
            setattr(outcome, name, getattr(outcome, name) + 1)
            return [*state, *others]
    outcome.faults.append(
        f"{seed}: {what}: {len(found)} octets, neither {len(b''.join(before))} nor {len(b''.join(after))}"
    )
    # Go on with what there should have been, so that each fault is counted once.
    with open(os.path.join(folder, "ann"), "wb") as file:
        file.write(b"".join(before))
    return before


def cut_append(folder: str, before: list[bytes], after: list[bytes]) -> None:
    path = os.path.join(folder, "ann")
    if os.path.getsize(path) != len(b"".join(after)):
        os.truncate(path, len(b"".join(before)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--child")
    parser.add_argument("--window", type=int, default=expunge.WINDOW)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.seed, options.window)
    with tempfile.TemporaryDirectory() as folder:
        outcome = play(folder, options.rounds, int(options.seed))
    print(outcome)
    for fault in outcome.faults:
        print(fault)
    return 1 if outcome.faults else 0


if __name__ == "__main__":
    sys.exit(main())
