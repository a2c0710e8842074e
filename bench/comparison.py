"""bench/run: the workloads in turn against each target, again where somebody disturbed one, and the table at the end."""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

from bench import fetching, incoming, whole
from bench.figures import SHOWN, Results, figure, problems, shown, table
from bench.generator import Result
from bench.goals import page, verdicts
from bench.machine import Quiet
from bench.surroundings import GROUPS, HERE, machine, missing, stop_servers_at_the_end, workers
from bench.target import Broken, Target

# The workload, and what it needs: SMTP, POP3.
WORK: dict[str, tuple[Callable[[Target, float], Result], str]] = {
    "W1": (incoming.w1, "s"),
    "W2": (incoming.w2, "s"),
    "W2p": (incoming.w2p, "s"),
    "W3": (incoming.w3, "s"),
    "W4": (incoming.w4, "s"),
    "W4b": (incoming.w4b, "s"),
    "W5": (fetching.w5, "p"),
    "W6": (fetching.w6, "p"),
    "W6p": (fetching.w6p, "p"),
    "W7": (fetching.w7, "p"),
    "W8": (whole.w8, ""),
    "W9": (whole.w9, "sp"),
    "W10": (whole.w10, ""),
    "FSYNC": (whole.fsync, ""),
}
ONCE = ("W8", "W10", "FSYNC")  # what others do meanwhile hardly shows in them
QUICK = "W1,W2,W5,W9"
QUICK_SECONDS = 170.0
WARNING = (
    "This machine should be one that you can throw away: /var/mail/u001 and so on are emptied,"
    " Postfix and Dovecot are set up anew."
)
NOISY = 0.4  # from here on a run is measured again


class Comparison:
    """Targets and what was measured of them.

    until: no run begins after this moment (time.monotonic), so that a quick look stays one.
    """

    def __init__(self, targets: list[Target], scale: float, tries: int, patience: float, until: float) -> None:
        self.targets, self.scale, self.tries, self.patience, self.until = targets, scale, tries, patience, until
        self.data: Results = {target.name: collections.defaultdict(list) for target in targets}
        self.failed_starts: collections.Counter[str] = collections.Counter()
        self.quiet = Quiet()
        # Whoever polls users in turn meets no busy mailbox and no cold one. So it is the same for everybody, or for nobody.
        in_turn = any(target.in_turn for target in targets)
        for target in targets:
            target.in_turn = in_turn

    def run(self, workload: str, number: int) -> None:
        """One run of a workload against each target that speaks what it needs."""
        _, needs = WORK[workload]
        for target in self.targets:
            if not target.can(needs) or time.monotonic() > self.until:
                continue
            began = time.monotonic()
            try:
                self._only(target)
                result = self._measure(workload, target)
            except Exception as error:
                # Whatever it is, it ends this run and not the night: the others are measured, and the table names it.
                result = {"errors": 1, "first_error": _in_words(error)}
                self._end(target)
            result["took_s"] = round(time.monotonic() - began, 1)
            self.data[target.name][workload].append(result)
            print(self._line(workload, target.name, number, result), flush=True)

    def _only(self, target: Target) -> None:
        """This one runs, and none of the others. Broken at once where it did not start more than once: each try takes half a minute."""
        for other in self.targets:
            if other is not target:
                other.stop()
        if target.up:
            return
        if self.failed_starts[target.name] >= 2:
            raise Broken(f"{target.name} did not start twice, and was not tried again")
        target.end_leftovers()
        self.failed_starts[target.name] += 1
        target.start()
        self.failed_starts[target.name] = 0

    def _end(self, target: Target) -> None:
        """Begin from a known state next time, whatever state it is in."""
        try:
            target.end_leftovers()
        except Exception as error:
            print(f"{target.name} could not be stopped: {_in_words(error)}", flush=True)

    def _measure(self, workload: str, target: Target) -> Result:
        work, _ = WORK[workload]
        best: Result | None = None
        for attempt in range(1, 2 if workload in ONCE else self.tries + 1):
            quiet = self.quiet.wait(self.patience)
            result = work(target, self.scale)
            slow = self.quiet.slow()
            noise = result.get("foreign_share", 0) * 5 + (slow - 1) + (not quiet)
            result.update(quiet_before=quiet, slow_after=round(slow, 3), noise=round(noise, 3))
            if best is None or noise < best["noise"]:
                best = result
            best["attempts"] = attempt
            if best["noise"] < NOISY or time.monotonic() > self.until:
                break
        assert best is not None
        return best

    def _line(self, workload: str, name: str, number: int, result: Result) -> str:
        heads = [f"{label}={shown(figure(result, path))}" for of, label, path, _ in SHOWN if of == workload][:6]
        line = f"{time.strftime('%H:%M:%S')} {workload} {name} run {number}: " + ", ".join(heads)
        line += f" (noise {result.get('noise', 0):.2f}, tries {result.get('attempts', 1)})"
        if workload == "FSYNC":
            line += " " + json.dumps(result)
        found = problems(result)
        return line + ("  !! " + "; ".join(found)[:300] if found else "")

    def end(self, leave_up: bool) -> None:
        for target in self.targets:
            if target.up:
                with contextlib.suppress(Exception):
                    target.reset()
                if not leave_up:
                    self._end(target)

    def write(self, out: str, about: dict[str, object]) -> None:
        """OUT.json and OUT.md, after each run: what ends a night early leaves what was measured before."""
        names = [target.name for target in self.targets]
        judged = [dataclasses.asdict(one) for one in verdicts(names, self.data, workers())]
        facts = {"command": sys.argv, "scale": self.scale, "machine": about}
        with open(out + ".json", "w") as f:
            json.dump({**facts, "verdicts": judged, "results": self.data}, f, indent=1)
        with open(out + ".md", "w") as f:
            f.write(self.page(about))

    def page(self, about: dict[str, object]) -> str:
        """The table, with the machine and the versions above it."""
        versions = about["versions"]
        assert isinstance(versions, dict)
        head = (
            f"{about['when']}; {about['cpu']}, {about['cores']} cores, {about['memory_gib']} GiB, {about['file_system']}; "
            + ", ".join(f"{name} {version}" for name, version in versions.items())
        )
        if self.scale != 1.0:
            head += f"; scale {self.scale:g}"
        command = "bench/run " + " ".join(sys.argv[1:])
        names = [target.name for target in self.targets]
        text = f"`{command.strip()}`\n\n{head}\n\n{table(names, self.data)}"
        return f"{text}\n{judged}" if (judged := page(verdicts(names, self.data, workers()))) else text


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[-600:]


def arguments(about: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", help=f"peers: {', '.join(GROUPS)}, all, or none (default postfix-dovecot)")
    parser.add_argument(
        "--target",
        action="append",
        default=[],
        help="a JSON file of targets/, instead of those; may be said again",
    )
    parser.add_argument("--only", help=f"workloads: {','.join(WORK)} (FSYNC only when it is named)")
    parser.add_argument("--runs", type=int)
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK}, one run, a quarter of the work, three minutes at most"
    )
    parser.add_argument("--scale", type=float, help="multiply counts and seconds (0.02: does everything work?)")
    parser.add_argument("--out", help="PREFIX.json and PREFIX.md (default bench/results/DATE-TIME)")
    parser.add_argument("--tries", type=int, help="how often a disturbed run is measured")
    parser.add_argument("--patience", type=float, help="seconds to wait for a quiet machine before each")
    parser.add_argument("--leave-up", action="store_true", help="leave the servers running at the end")
    parser.add_argument("--install", action="store_true", help="install what is missing (peers/setup-debian.sh)")
    said = parser.parse_args()
    quick = said.quick
    said.only = (said.only or (QUICK if quick else ",".join(name for name in WORK if name != "FSYNC"))).split(",")
    said.runs = said.runs or (1 if quick else 3)
    said.scale = said.scale or (0.25 if quick else 1.0)
    said.tries = said.tries or (1 if quick else 3)
    said.patience = said.patience if said.patience is not None else 2.0 if quick else 60.0
    against = said.against or "postfix-dovecot"
    said.groups = [] if against == "none" else list(GROUPS) if against == "all" else against.split(",")
    if unknown := [x for x in said.only if x not in WORK] + [x for x in said.groups if x not in GROUPS]:
        parser.error(f"unknown: {', '.join(unknown)}")
    return said


def prepare(groups: list[str], install: bool) -> str | None:
    """Everything that is needed is here; else the sentence that says how to get it."""
    if os.geteuid() != 0:
        return "bench/run needs root: it lays mailboxes of others, and reads other processes' memory"
    setup = os.path.join(HERE, "peers", "setup-debian.sh")
    if (lacking := missing(groups)) and install:
        subprocess.run([setup, *lacking], check=True)
        lacking = missing(groups)
    if lacking:
        return f"missing here: {', '.join(lacking)}. On a Debian machine that you can throw away:\n  {setup} {' '.join(lacking)}"
    subprocess.run(["make", "-s", "-C", HERE], check=True)
    return None


def main(about: str) -> str | None:
    """An error, as sys.exit takes it."""
    began = time.monotonic()
    said = arguments(about)
    if trouble := prepare([] if said.target else said.groups, said.install):
        return trouble
    print(
        WARNING,
        flush=True,
    )
    files = said.target or [
        os.path.join(HERE, "targets", name + ".json")
        for name in ("lanmail", *(name for group in said.groups for name in GROUPS[group]))
    ]
    targets = [Target(path) for path in files]
    if len({target.name for target in targets}) != len(targets):
        return "two targets have the same name"
    out = said.out or os.path.join(HERE, "results", time.strftime("%Y-%m-%d-%H%M%S", time.gmtime()))
    os.makedirs(os.path.dirname(os.path.abspath(out)), exist_ok=True)
    facts = machine()
    stop_servers_at_the_end()
    until = began + QUICK_SECONDS if said.quick else float("inf")
    comparison = Comparison(targets, said.scale, said.tries, said.patience, until)
    for _ in range(5 if said.quick else 20):
        comparison.quiet.spin()
        time.sleep(0.2)
    try:
        for workload in said.only:
            for number in range(1, said.runs + 1):
                comparison.run(workload, number)
                comparison.write(out, facts)
    finally:
        comparison.end(said.leave_up)
    print("\n" + comparison.page(facts))
    if time.monotonic() > until:
        print(f"Not everything was measured: --quick ends after {QUICK_SECONDS:.0f} s.")
    print(f"written: {out}.json and {out}.md")
    return None
