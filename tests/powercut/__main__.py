"""The power-cut test:  python -m tests.powercut

A real lanmail works under load for some seconds, and everything that it and another program do to the queue's folder and to the
mailboxes is recorded. Then the power is cut at many points of the recording: each time the disk is made as a kernel was free to leave
it, the service comes up on it, and every 250 must be kept: once in its mailbox, or fetched and deleted.

  --points 1000        at so many points (of one recording)
  --seed 1             of the load, and of what is left of the disk
  --keep FOLDER        keep the recording there, and the folders of points with a fault; such points can be tried again:
  --again FOLDER       with the recording that was kept there
  --point 4711         only at this one
  --each-sync          not one program but many, each of which lacks one of the syncs: which of them are caught?
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile

from tests.powercut.cuts import asked_by, cut
from tests.powercut.load import Recording, record_load
from tests.powercut.recorder import Step


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.powercut", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, default=1000, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=5.0, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--keep", help=argparse.SUPPRESS)
    parser.add_argument("--again", help=argparse.SUPPRESS)
    parser.add_argument("--point", type=int, action="append", help=argparse.SUPPRESS)
    parser.add_argument("--each-sync", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lanmail-powercut-") as temporary:
        folder = os.path.realpath(options.again or options.keep or temporary)
        if options.again:
            recording = Recording.kept(os.path.join(folder, "load"))
        else:
            recording = record_load(os.path.join(folder, "load"), options.seconds, options.seed)
        points = sorted(options.point) if options.point else options.points
        return (each_sync if options.each_sync else promise)(recording, folder, points, options.seed)


def promise(recording: Recording, folder: str, points: list[int] | int, seed: int) -> int:
    outcome = cut(recording, os.path.join(folder, "points"), points=points, seed=seed)
    print(outcome)
    for point, faults in outcome.faults.items():
        print(f"point {point}:", *faults, sep="\n  ")
    return 1 if outcome.faults else 0


def each_sync(recording: Recording, folder: str, points: list[int] | int, seed: int) -> int:
    """A table: of each sync how often it was asked for, and after how many points it was missed."""
    asked = cut(recording, os.path.join(folder, "points"), points=[], seed=seed).syncs
    for sync, times in sorted(asked.items()):
        place = os.path.join(folder, "without", re.sub(r"[^A-Za-z0-9]+", "-", sync))

        def removed(step: Step, sync: str = sync) -> bool:
            return asked_by(step) == sync

        outcome = cut(recording, place, points=points, seed=seed, removed=removed, enough=1)
        first = next((faults[0] for faults in outcome.faults.values()), "not missed")
        print(f"{times:6} {sync:48} {outcome.points:4} points {outcome.seconds:3.0f} s: {first[:90]}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
