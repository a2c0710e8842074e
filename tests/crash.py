"""``python -m tests.crash``: ``kill -9`` during delivery, then during expunge, fifty times each; what must be there is there.

``--rounds`` and ``--seed`` choose others. The two judges, one by one: ``tests.spool.crash`` and ``tests.mailbox.crash``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

JUDGES = (("delivery", "tests.spool.crash"), ("expunge", "tests.mailbox.crash"))


def main() -> int:
    parser = argparse.ArgumentParser(description="kill -9 during delivery and during expunge")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    worst = 0
    for what, judge in JUDGES:
        print(f"{what}: ", end="", flush=True)
        command = [sys.executable, "-m", judge, "--rounds", str(options.rounds), "--seed", str(options.seed)]
        worst = max(worst, subprocess.run(command).returncode)
    return worst


if __name__ == "__main__":
    sys.exit(main())
