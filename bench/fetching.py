"""W5 to W7: mail is fetched."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from typing import Any

from bench.generator import Result, Session, load, metered, run_id
from bench.machine import Peak, memory
from bench.seeds import append, lay_all, lay_huge
from bench.target import Target


def pop3_run(target: Target, **options: Any) -> Result:
    out: Result = {}
    with metered(target, out):
        out.update(load(target, "pop3", **options))
    if out["ok"]:
        out["server_cpu_ms_per_session"] = round(1000 * out["server_cpu_s"] / out["ok"], 4)
    if out.get("retr"):
        out["server_cpu_ms_per_retr"] = round(1000 * out["server_cpu_s"] / out["retr"], 4)
    return out


def poll_each_once(target: Target, messages: int | None = 100) -> None:
    """Whoever keeps indexes or remembers logins has then seen every mailbox and every user."""
    load(target, "pop3", total=100, conc=4, sequential=True, script="poll", expect=messages, time_limit=100)


def w5(target: Target, scale: float) -> Result:
    """Polls of mailboxes in which nothing has changed."""
    target.reset()
    lay_all(target, 100, 100, 4096)
    poll_each_once(target)
    out = pop3_run(
        target,
        total=10**6,
        conc=20,
        script="poll",
        expect=100,
        duration=8 * scale,
        time_limit=60,
        sequential=target.in_turn,
    )
    out["sessions_per_s"] = out["tx_per_s"]
    return out


def _drain(target: Target, pipeline: bool) -> Result:
    target.reset()
    lay_all(target, 10, 1000, 4096)
    out = pop3_run(
        target, total=10, conc=10, sequential=True, script="drain", expect=1000, pipeline=pipeline, time_limit=200
    )
    if target.store == "mbox":
        left = sum(each.stat().st_size for each in os.scandir(target.mail_dir) if re.fullmatch(r"u\d\d\d", each.name))
        out["octets_left"] = left if left > 10 * 1024 else 0  # Dovecot keeps a small message of its own
    return out


def w6(target: Target, scale: float) -> Result:
    """Ten people fetch and delete a thousand messages each; always whole, since a part of it would measure the logins."""
    return _drain(target, pipeline=False)


def w6p(target: Target, scale: float) -> Result:
    """The same, pipelined."""
    return _drain(target, pipeline=True)


def w7(target: Target, scale: float) -> Result:
    """One mailbox of a gigabyte."""
    messages, size, user = int(100_000 * scale), 10_737, "u001"
    target.reset()
    path = lay_huge(target, user, messages, size)
    out: Result = {"messages": messages, "mbox_mb": round(os.stat(path).st_size / 1e6, 1), "wrong": []}

    def session(key: str, want: int, act: Callable[[Session], object] | None = None) -> None:
        one = Session(target, user, f"pw-{user}")
        if one.messages != want:
            out["wrong"].append(f"{key}: {one.messages} messages, wanted {want}")
        out[key + "_open_s"] = round(one.open_s, 4)
        out[key + "_login_s"] = round(one.login_s, 4)
        if act:
            act(one)
        out[key + "_quit_s"] = round(one.quit(), 4)

    def listing(one: Session) -> None:
        out["list_s"], listed = one.listing("LIST")
        out["uidl_s"], named = one.listing("UIDL")
        out["retr_mid_s"], _ = one.listing(f"RETR {messages // 2}")
        if (listed, named) != (messages, messages):
            out["wrong"].append(f"LIST {listed} UIDL {named}")

    rest = memory(target.pids())
    with Peak(target.pids) as peak:
        session("cold", messages)
        session("warm", messages)
        session("warm2", messages, listing)
        append(path, user, messages, size)
        there = messages + 1
        session("ext_append", there)
        if target.smtp:
            sent = load(target, "smtp", total=1, conc=1, lo=1, hi=1, size=size, runid=run_id())
            time.sleep(1.0)
            there += sent["ok"]
            out["smtp_to_huge_tx_ms"] = sent["tx_ms"] and sent["tx_ms"]["max"]
            session("smtp_append", there)
        session("dele_mid", there, lambda one: one.command(f"DELE {messages // 2}"))
        session("after_dele", there - 1)
    out.update(peak.result())
    out["idle_pss_mb"] = rest["pss_mb"]
    out["above_rest_mb"] = round(out["peak_pss_mb"] - rest["pss_mb"], 2)
    return out
