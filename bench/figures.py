"""Which figures are shown, what is wrong with a result, and the table."""

from __future__ import annotations

import statistics
from typing import Any

Results = dict[str, dict[str, list[dict[str, Any]]]]
"""By the target's name, then by the workload's, a result for each run."""

# Workload, label, path into the result, and whether high is good.
SHOWN = [
    ("W1", "accepted/s", "accepted_per_s", True),
    ("W1", "delivered/s", "delivered_per_s", True),
    ("W1", "p50 ms", "tx_ms.p50", False),
    ("W1", "p99 ms", "tx_ms.p99", False),
    ("W1", "session p99 ms", "session_ms.p99", False),
    ("W1", "server CPU ms/message", "server_cpu_ms_per_msg", False),
    ("W1", "disk flushes/message", "flushes_per_msg", False),
    ("W2", "accepted/s", "accepted_per_s", True),
    ("W2", "delivered/s", "delivered_per_s", True),
    ("W2", "p50 ms", "tx_ms.p50", False),
    ("W2", "p99 ms", "tx_ms.p99", False),
    ("W2", "server CPU ms/message", "server_cpu_ms_per_msg", False),
    ("W2", "disk flushes/message", "flushes_per_msg", False),
    ("W2p", "accepted/s", "accepted_per_s", True),
    ("W2p", "delivered/s", "delivered_per_s", True),
    ("W2p", "p99 ms", "tx_ms.p99", False),
    ("W3", "accepted MB/s", "mb_per_s", True),
    ("W3", "delivered MB/s", "delivered_mb_per_s", True),
    ("W3", "p99 ms", "tx_ms.p99", False),
    ("W3", "server CPU ms/message", "server_cpu_ms_per_msg", False),
    ("W3", "MB above rest/message in flight", "mb_per_message_in_flight", False),
    ("W4", "accepted recipients/s", "rcpt_per_s", True),
    ("W4", "delivered recipients/s", "delivered_per_s", True),
    ("W4", "p99 ms", "tx_ms.p99", False),
    ("W4b", "accepted/s", "accepted_per_s", True),
    ("W4b", "delivered/s", "delivered_per_s", True),
    ("W4b", "p99 ms", "tx_ms.p99", False),
    ("W5", "sessions/s", "sessions_per_s", True),
    ("W5", "p50 ms", "tx_ms.p50", False),
    ("W5", "p99 ms", "tx_ms.p99", False),
    ("W5", "login p50 ms", "login_ms.p50", False),
    ("W5", "server CPU ms/session", "server_cpu_ms_per_session", False),
    ("W6", "messages/s", "retr_per_s", True),
    ("W6", "MB/s", "mb_per_s", True),
    ("W6", "longest session ms", "tx_ms.max", False),
    ("W6", "server CPU ms/message", "server_cpu_ms_per_retr", False),
    ("W6p", "messages/s, pipelined", "retr_per_s", True),
    ("W7", "cold open s", "cold_open_s", False),
    ("W7", "warm open s", "warm_open_s", False),
    ("W7", "LIST s", "list_s", False),
    ("W7", "UIDL s", "uidl_s", False),
    ("W7", "RETR of the middle s", "retr_mid_s", False),
    ("W7", "open after a foreign append s", "ext_append_open_s", False),
    ("W7", "open after a delivery s", "smtp_append_open_s", False),
    ("W7", "DELE of the middle, QUIT s", "dele_mid_quit_s", False),
    ("W7", "open after DELE s", "after_dele_open_s", False),
    ("W7", "peak PSS MB", "peak_pss_mb", False),
    ("W7", "above rest MB", "above_rest_mb", False),
    ("W8", "SMTP answered", "smtp.held.with_banner", True),
    ("W8", "SMTP KB/connection", "smtp.kb_per_conn", False),
    ("W8", "SMTP new banner p50 ms", "smtp.new_banner_ms_p50", False),
    ("W8", "SMTP new banner max ms", "smtp.new_banner_ms_max", False),
    ("W8", "POP3 answered", "pop3.held.with_banner", True),
    ("W8", "POP3 KB/connection", "pop3.kb_per_conn", False),
    ("W8", "POP3 new banner p50 ms", "pop3.new_banner_ms_p50", False),
    ("W8", "POP3 new banner max ms", "pop3.new_banner_ms_max", False),
    ("W9", "SMTP accepted/s", "smtp.tx_per_s", True),
    ("W9", "SMTP delivered/s", "delivered_per_s", True),
    ("W9", "SMTP p99 ms", "smtp.tx_ms.p99", False),
    ("W9", "POP3 sessions/s", "pop3.tx_per_s", True),
    ("W9", "POP3 p99 ms", "pop3.tx_ms.p99", False),
    ("W10", "PSS at rest MB", "at_rest.pss_mb", False),
    ("W10", "processes at rest", "at_rest.processes", False),
    ("W10", "PSS after use MB", "after_use.pss_mb", False),
    ("W10", "start to last banner s", "start_to_banner_s", False),
]


def figure(result: Any, path: str) -> float | None:
    """What stands at the path; of several, the largest (the last banner)."""
    for key in path.split("."):
        if not isinstance(result, dict) or result.get(key) is None:
            return None
        result = result[key]
    return float(max(result.values()) if isinstance(result, dict) else result)


def shown(number: float | None) -> str:
    return "–" if number is None else f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def problems(result: Any, where: str = "") -> list[str]:
    """Everything because of which the figures of a run do not count."""
    bad = []
    for key in ("errors", "lost", "twice", "mismatches", "wrong", "octets_left"):
        if result.get(key):
            bad.append(f"{where}{key}={result[key]}")
    if result.get("first_error"):
        bad.append(f"{where}first: {result['first_error']}")
    if result.get("timed_out"):
        bad.append(f"{where}timed out")
    for key in ("smtp", "pop3", "held"):
        if isinstance(result.get(key), dict):
            bad += problems(result[key], where + key + ".")
    return bad


def table(names: list[str], data: Results) -> str:
    """A row for each figure, a column for each target; and how many times better the first one is than the best of the others."""
    ratio = " | times better |" if len(names) > 1 else " |"
    lines = [
        "| workload | figure | " + " | ".join(names) + ratio,
        "|---|---|" + "---|" * (len(names) + (len(names) > 1)),
    ]
    for workload, label, path, high in SHOWN:
        runs = [[figure(one, path) for one in data.get(name, {}).get(workload, [])] for name in names]
        if not any(x is not None for each in runs for x in each):
            continue
        cells = [_cell([x for x in each if x is not None]) for each in runs]
        if len(names) > 1:
            cells.append(better(runs[0], runs[1:], high))
        lines.append(f"| {workload} | {label}{'' if high else ' ↓'} | " + " | ".join(cells) + " |")
    lines += ["", "Median [lowest–highest] of the runs. ↓: low is good."]
    bad = [
        f"* {name}, {workload}, run {number}: " + "; ".join(found)[:300]
        for name in names
        for workload, results in data.get(name, {}).items()
        for number, one in enumerate(results, 1)
        if (found := problems(one))
    ]
    if bad:
        lines += ["", "What went wrong (a figure with errors does not count):", "", *bad]
    return "\n".join(lines) + "\n"


def better(ours: list[float | None], others: list[list[float | None]], high: bool) -> str:
    """How many times better we are than the best of the others: median [lowest–highest] over the runs."""
    return _cell(ratios(ours, others, high))


def ratios(ours: list[float | None], others: list[list[float | None]], high: bool) -> list[float]:
    """How many times better we are than the best of the others, run by run, each beside its neighbour in time.

    Above 1 we are ahead, whether high is good or low. The best is chosen by its median, once for all runs.
    """
    medians = [(statistics.median(real), each) for each in others if (real := [x for x in each if x is not None])]
    if not medians:
        return []
    _, best = (max if high else min)(medians, key=lambda pair: pair[0])
    return [
        mine / theirs if high else theirs / mine
        for mine, theirs in zip(ours, best, strict=False)
        if mine is not None and theirs is not None and mine > 0 and theirs > 0
    ]


def counting(data: Results, name: str, workload: str, path: str) -> list[float | None]:
    """A target's figure in each run; None in a run in which something went wrong."""
    return [None if problems(one) else figure(one, path) for one in data.get(name, {}).get(workload, [])]


def _cell(numbers: list[float]) -> str:
    if not numbers:
        return "–"
    median = shown(statistics.median(numbers))
    return median if len(numbers) == 1 else f"{median} [{shown(min(numbers))}–{shown(max(numbers))}]"
