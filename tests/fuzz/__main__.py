"""``python -m tests.fuzz --minutes 60 [--seed 7] [TARGET ...]``: search for inputs that something does not bear.

Each target has its turn of a few seconds, over and over; at the end a line for each, and what was found. A finding becomes a test when
its octets are written into tests/fuzz/found.py.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.fuzz.search import Search, shorter
from tests.fuzz.targets import TARGETS

TURN = 2.0  # seconds


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("targets", nargs="*", help="all of them, where none is named")
    asked = parser.parse_args()
    chosen = [target for target in TARGETS if not asked.targets or target.name in asked.targets]
    if not chosen:
        parser.error("there are " + ", ".join(target.name for target in TARGETS))
    searches = [Search(target, asked.seed) for target in chosen]
    told: set[tuple[str, str]] = set()
    end = time.monotonic() + asked.minutes * 60
    looking = True
    while time.monotonic() < end:
        for search in searches:
            search.run(sys.maxsize, min(TURN, max(0.1, end - time.monotonic())), looking=looking)
            for place, finding in search.findings.items():
                if (search.target.name, place) not in told:
                    told.add((search.target.name, place))
                    print(f"FOUND {finding}", flush=True)
        looking = not looking
    for search in searches:
        for finding in search.findings.values():
            print(f"FOUND {shorter(search.target, finding)}")
    for search in searches:
        print(
            f"{search.target.name:12} {search.executions:10} executions {search.kept:5} kept {len(search.findings):3} found"
        )
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
