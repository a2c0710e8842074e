"""W1 to W4b: mail comes in."""

from __future__ import annotations

from typing import Any

from bench.generator import Result, load, metered, run_id, wait_delivered
from bench.machine import Peak, memory
from bench.target import Target


def smtp_run(target: Target, messages: int, warm: int = 100, patience: float = 60, **options: Any) -> Result:
    """Load, then wait until every message is in its mailbox. ``warm`` messages go before, and are waited for."""
    rcpts, size = options.get("rcpts", 1), options.get("size", 4096)
    counted = target.store != "none"
    if warm:
        name = run_id()
        kept = {key: value for key, value in options.items() if key in ("conc", "per_conn", "lo", "hi", "pipeline")}
        warmed = load(target, "smtp", total=warm, runid=name, time_limit=30, **kept)
        if counted:
            wait_delivered(target, name, warmed["ok"], 30)
    run, out = run_id(), {}  # type: tuple[str, Result]
    octets = target.octets()
    with metered(target, out):
        out.update(load(target, "smtp", total=messages, runid=run, time_limit=120, **options))
        want = out["ok"] * rcpts
        expected = octets + int(want * size * 0.9)
        got, twice, last = wait_delivered(target, run, want, patience, expected) if counted else (0, 0, 0.0)
    out["accepted_per_s"] = out["tx_per_s"]
    out["delivered"], out["twice"] = got, twice
    out["lost"] = max(0, want - got) if counted else None
    if counted and got:
        seconds = max(last - out["t_start"], out["elapsed_s"])
        out["delivered_s"] = round(seconds, 4)
        out["delivered_per_s"] = round(got / seconds, 2)
        out["delivered_mb_per_s"] = round(got * size / seconds / 1e6, 3)
    if out["ok"]:
        out["server_cpu_ms_per_msg"] = round(1000 * out["server_cpu_s"] / out["ok"], 4)
        for name in ("flushes", "writes", "written_mb"):
            if "disk_" + name in out:
                out[f"{name}_per_msg"] = round(out["disk_" + name] / out["ok"], 4)
    return out


def w1(target: Target, scale: float) -> Result:
    """A connection for each message."""
    target.reset()
    return smtp_run(target, int(3000 * scale), conc=20)


def w2(target: Target, scale: float) -> Result:
    """Fifty messages on each connection."""
    target.reset()
    return smtp_run(target, int(5000 * scale), conc=20, per_conn=50)


def w2p(target: Target, scale: float) -> Result:
    """The same, pipelined."""
    target.reset()
    return smtp_run(target, int(5000 * scale), conc=20, per_conn=50, pipeline=True)


def w3(target: Target, scale: float) -> Result:
    """Large messages; and, in a second load that is not timed, what memory they take while they are on their way."""
    target.reset()
    large: dict[str, Any] = {"conc": 4, "size": 10 * 1024 * 1024}
    out = smtp_run(target, max(4, int(25 * scale)), warm=0, **large)
    rest = memory(target.pids())
    with Peak(target.pids) as peak:
        load(target, "smtp", total=12, runid=run_id(), time_limit=60, **large)
    above = peak.result()["peak_pss_mb"] - rest["pss_mb"]
    out["mb_per_message_in_flight"] = round(max(0.0, above) / large["conc"], 3)
    return out


def w4(target: Target, scale: float) -> Result:
    """Fifty recipients a message."""
    target.reset()
    return smtp_run(target, int(200 * scale), conc=20, rcpts=50)


def w4b(target: Target, scale: float) -> Result:
    """Everything to one mailbox."""
    target.reset()
    return smtp_run(target, int(2000 * scale), warm=50, conc=50, lo=1, hi=1)
