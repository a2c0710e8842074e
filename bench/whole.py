"""W8 to W10 and FSYNC: idle connections, everything at once, memory and start, system calls that flush."""

from __future__ import annotations

import collections
import json
import os
import re
import signal
import statistics
import subprocess
import time
from collections.abc import Callable
from typing import Any

from bench.fetching import poll_each_once
from bench.generator import Result, load, load_command, metered, run_id, wait_delivered
from bench.machine import memory
from bench.seeds import lay_all
from bench.surroundings import LOAD, SCRATCH
from bench.target import Target, banner


def w8(target: Target, scale: float) -> Result:
    """Connections that say nothing, and new ones meanwhile."""
    out: Result = {"connections": int(5000 * scale)}
    for mode, port in (("smtp", target.smtp), ("pop3", target.pop3)):
        if port:
            out[mode] = _idle(target, port, out["connections"])
            time.sleep(1)
    return out


def _idle(target: Target, port: int, connections: int) -> Result:
    before = memory(target.pids())
    command = [LOAD, "--host", target.host, "--mode", "idle", "--port", str(port)]
    command += ["--conc", str(connections), "--hold", "12", "--time-limit", "150"]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    try:
        line = holder.stdout.readline()
        held: Result = {"holding": 0, "with_banner": 0, "first_error": line[:200]}
        if line.startswith('{"holding"'):
            held = json.loads(line)
        time.sleep(1)
        times, unanswered = _new_ones(target.host, port)
        during = memory(target.pids())
    finally:
        rest = holder.communicate(timeout=120)[0]
    end = json.loads(rest.strip().splitlines()[-1]) if rest.strip() else {}
    return {
        "before": before,
        "during": during,
        "held": held,
        "open_at_end": end.get("open_at_end"),
        "kb_per_conn": round(1024 * (during["pss_mb"] - before["pss_mb"]) / max(1, int(held["with_banner"])), 2),
        "new_banner_ms": [round(ms, 3) for ms in times],
        "new_banner_ms_p50": round(statistics.median(times), 3) if times else None,
        "new_banner_ms_max": round(max(times), 3) if times else None,
        "new_unanswered": unanswered,
    }


def _new_ones(host: str, port: int) -> tuple[list[float], int]:
    """Milliseconds until each of twenty new clients was greeted, and how many were not."""
    times: list[float] = []
    unanswered = 0
    for _ in range(20):
        began = time.monotonic()
        try:
            banner(host, port, 3)
            times.append(1000 * (time.monotonic() - began))
        except OSError:
            unanswered += 1
            if unanswered >= 2 and not times:
                break
        time.sleep(0.02)
    return times, unanswered


def w9(target: Target, scale: float) -> Result:
    """W1's connections and W5's polls at once, on the same mailboxes."""
    target.reset()
    lay_all(target, 100, 100, 4096)
    poll_each_once(target)
    run, out, duration = run_id(), {}, 8 * scale  # type: tuple[str, Result, float]
    both: dict[str, Any] = {"total": 10**6, "conc": 20, "duration": duration, "time_limit": 60}
    octets = target.octets()
    with metered(target, out):
        commands = (
            load_command(target, "smtp", runid=run, **both),
            load_command(target, "pop3", script="poll", seed=7, sequential=target.in_turn, **both),
        )
        loads = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
        out["smtp"], out["pop3"] = (json.loads(each.communicate(timeout=200)[0]) for each in loads)
        want = out["smtp"]["ok"]
        got, twice, last = wait_delivered(target, run, want, 45, octets + int(want * 4096 * 0.9))
    out["delivered"], out["twice"], out["lost"] = got, twice, want - got
    seconds = max(last - out["smtp"]["t_start"], out["smtp"]["elapsed_s"])
    out["delivered_per_s"] = round(got / seconds, 2)
    return out


def w10(target: Target, scale: float) -> Result:
    """From the start command to the first banners, and what it keeps in memory."""
    target.stop()
    out: Result = {"start_to_banner_s": {str(port): round(s, 4) for port, s in target.start().items()}}
    time.sleep(2)
    out["at_rest"] = memory(target.pids())
    target.reset()
    if target.smtp:
        load(target, "smtp", total=300, conc=20, time_limit=30)
    if target.pop3:
        load(target, "pop3", total=20, conc=5, script="poll", sequential=True, time_limit=30)
    time.sleep(2)
    out["after_use"] = memory(target.pids())
    return out


def fsync(target: Target, scale: float) -> Result:
    """System calls that make data durable, per message and per session, as strace sees them; nothing here is timed."""
    target.reset()
    out: Result = {}

    def smtp(**options: Any) -> Callable[[], int]:
        def send() -> int:
            run = run_id()
            sent = load(target, "smtp", runid=run, time_limit=60, **options)
            if target.store != "none":
                wait_delivered(target, run, sent["ok"], 30)
            return int(sent["ok"])

        return send

    def pop3(script: str) -> Callable[[], int]:
        return lambda: int(
            load(target, "pop3", total=5, conc=1, sequential=True, script=script, hi=5, time_limit=60)["ok"]
        )

    if target.smtp:
        load(target, "smtp", total=40, conc=4, time_limit=30)
        out["smtp_one_by_one"] = _flushes(target, smtp(total=50, conc=1))
        out["smtp_conc20"] = _flushes(target, smtp(total=200, conc=20))
        out["smtp_persist_conc20"] = _flushes(target, smtp(total=200, conc=20, per_conn=50))
    if target.pop3:
        lay_all(target, 5, 50, 4096)
        pop3("poll")()
        out["pop3_poll"] = _flushes(target, pop3("poll"))
        out["pop3_drain50"] = _flushes(target, pop3("drain"))
    return out


def _flushes(target: Target, act: Callable[[], int]) -> Result:
    """act: does it, and says how many it did."""
    log = os.path.join(SCRATCH, f"bench-strace-{os.getpid()}")
    command = [
        "strace",
        "-f",
        "-q",
        "-e",
        "trace=fsync,fdatasync,sync,syncfs,msync,sync_file_range",
        "-e",
        "signal=none",
        "-o",
        log,
    ]
    for pid in target.pids():
        command += ["-p", str(pid)]
    strace = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    time.sleep(1.5)
    done = act()
    time.sleep(1.5)
    strace.send_signal(signal.SIGINT)
    strace.wait(20)
    with open(log) as f:
        calls = collections.Counter(m.group(1) for m in re.finditer(r"^\d+ +(\w+)\(", f.read(), re.MULTILINE))
    os.unlink(log)
    return {"n": done, **{name: round(number / max(1, done), 3) for name, number in calls.items()}}
