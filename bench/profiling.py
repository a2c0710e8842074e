"""bench/profile: which functions the time goes to while lanmail is under a workload's load."""

from __future__ import annotations

import argparse
import collections
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from bench.comparison import prepare
from bench.fetching import poll_each_once
from bench.generator import load, run_id
from bench.seeds import lay_all
from bench.surroundings import HERE, stop_servers_at_the_end
from bench.target import Broken, Target

IDLE = ("Condition.wait (threading.py",)
Loads = dict[str, Callable[[Target, float], Any]]
LOADS: Loads = {
    "W1": lambda target, seconds: _sent(target, seconds, 1),
    "W2": lambda target, seconds: _sent(target, seconds, 50),
    "W3": lambda target, seconds: load(
        target,
        "smtp",
        total=10**6,
        conc=4,
        size=10 * 1024 * 1024,
        runid=run_id(),
        duration=seconds,
        time_limit=seconds + 30,
    ),
    "W5": lambda target, seconds: load(
        target, "pop3", total=10**6, conc=20, script="poll", sequential=True, duration=seconds, time_limit=seconds + 30
    ),
    # The letters stay: so it can go on for as long as it is looked at.
    "W6": lambda target, seconds: load(
        target,
        "pop3",
        total=10**6,
        conc=10,
        hi=10,
        script="keep",
        sequential=True,
        duration=seconds,
        time_limit=seconds + 30,
    ),
}


def _sent(target: Target, seconds: float, on_each: int) -> Any:
    return load(
        target,
        "smtp",
        total=10**6,
        conc=20,
        per_conn=on_each,
        runid=run_id(),
        duration=seconds,
        time_limit=seconds + 30,
    )


def py_spy() -> str | None:
    """Beside the interpreter, or on the path."""
    beside = os.path.join(os.path.dirname(sys.executable), "py-spy")
    return beside if os.path.exists(beside) else shutil.which("py-spy")


def record(target: Target, workload: str, seconds: float, out: str, form: str) -> None:
    """The load in a thread of its own, py-spy beside it. form: py-spy's (raw, flamegraph, speedscope)."""
    main = target.pids()[0]
    spy = py_spy()
    assert spy is not None
    loading = threading.Thread(target=LOADS[workload], args=(target, seconds + 2))
    loading.start()
    time.sleep(1.0)
    # --subprocesses: workers and the guard's helpers too. Without --idle only what runs is seen.
    command = [spy, "record", "--pid", str(main), "--subprocesses", "--rate", "200"]
    command += ["--duration", str(max(1, round(seconds))), "--format", form, "--output", out]
    ran = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    loading.join()
    if not os.path.exists(out):
        raise Broken(f"py-spy wrote nothing: {ran.stderr[-400:]}")


def top(raw: str, count: int = 30) -> str:
    """From folded stacks: the functions in which, and below which, the time is spent, as a share of all samples."""
    # A thread that waits for work may look busy to py-spy: how often it does says nothing.
    own: collections.Counter[str] = collections.Counter()
    below: collections.Counter[str] = collections.Counter()
    for line in raw.splitlines():
        stack, _, samples = line.rpartition(" ")
        frames = [re.sub(r":\d+\)$", ")", frame) for frame in stack.split(";")]
        if frames[-1].startswith(IDLE):
            continue
        own[frames[-1]] += int(samples)
        for frame in set(frames):
            below[frame] += int(samples)
    total = max(1, own.total())
    lines = [f"{total} samples", "", "  own   with what it calls", ""]
    for frame, number in own.most_common(count):
        lines.append(f"{number / total:6.1%} {below[frame] / total:6.1%}  {frame}")
    lines += ["", "with what it calls", ""]
    lines += [f"{number / total:6.1%}  {frame}" for frame, number in below.most_common(count)]
    return "\n".join(lines) + "\n"


def main(about: str) -> str | None:
    """An error, as sys.exit takes it."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(LOADS))
    parser.add_argument("--seconds", type=float, default=10.0, help="for each workload")
    parser.add_argument("--flame", action="store_true", help="write a flame graph (SVG) instead of stacks and a list")
    parser.add_argument(
        "--out", default=os.path.join(HERE, "results", "profile"), help="PREFIX-W1.raw, PREFIX-W1.txt, …"
    )
    said = parser.parse_args()
    if py_spy() is None:
        return "py-spy is missing: pip install py-spy"
    if unknown := [workload for workload in said.only.split(",") if workload not in LOADS]:
        return f"unknown: {', '.join(unknown)}; there are {', '.join(LOADS)}"
    if trouble := prepare([], install=False):
        return trouble
    target = Target(os.path.join(HERE, "targets", "lanmail.json"))
    stop_servers_at_the_end()
    target.start()
    try:
        for workload in said.only.split(","):
            target.reset()
            if workload in ("W5", "W6"):
                lay_all(target, 100, 100, 4096)
                poll_each_once(target)
            out = f"{said.out}-{workload}.{'svg' if said.flame else 'raw'}"
            record(target, workload, said.seconds, out, "flamegraph" if said.flame else "raw")
            print(f"{workload}: {out}")
            if not said.flame:
                with open(out) as f:
                    text = top(f.read())
                with open(f"{said.out}-{workload}.txt", "w") as f:
                    f.write(text)
                print("\n".join(text.splitlines()[:16]) + f"\n… {said.out}-{workload}.txt\n")
    finally:
        target.reset()
        target.stop()
    return None
