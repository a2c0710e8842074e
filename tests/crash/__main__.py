"""``kill -9``, again and again:  python -m tests.crash

A real lanmail takes mail in from eight clients for twenty mailboxes, others fetch and delete, another program works on the same
mailboxes, and the server is killed at a random moment and started again. After each kill what is there must be what everybody's own
books say: every 250 once, in its mailbox or in a fetcher's hands; nothing torn, nothing back that was deleted, no UIDL changed.

Then a second judge (tests.mailbox.crash) kills a process that does nothing but append to one mailbox and take out of it.

  --rounds 500         so many; of the second, a tenth
  --seed 1             of what is drawn; where a kill falls is chance all the same
  --workers 3          so many serve, and are killed one by one and all at once
  --owner NAME         run the server as that user (only root can)
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile

from tests.crash.rounds import Outcome, Wrong, play
from tests.live import ROOT


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.crash", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=500, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--owner", help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = os.path.realpath(tempfile.mkdtemp(prefix="lanmail-crash-"))
    os.chmod(folder, 0o755)  # the server may be somebody else's

    def progress(outcome: Outcome) -> None:
        if sys.stderr.isatty():
            print(f"\r{outcome.rounds} of {options.rounds} rounds ", end="", file=sys.stderr, flush=True)

    try:
        house = os.path.join(folder, "house")
        print(play(house, options.rounds, options.seed, options.owner, progress, options.workers), flush=True)
        os.rmdir(folder)
    except Wrong as wrong:
        print(wrong)
        return 1
    print("expunge: ", end="", flush=True)
    few = str(max(1, options.rounds // 10))
    command = [sys.executable, "-m", "tests.mailbox.crash", "--rounds", few, "--seed", str(options.seed)]
    return subprocess.run(command, cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
