"""What lanmail is to reach (bench/goals.json), and whether a run did.

A goal is of a figure of the table, by the medians of the runs: so many times better than the better of the peers that are named (both
measured in the same run), or at most, or at least, so much. Our figure of a run in which something went wrong does not count; a
peer's does.
"""

from __future__ import annotations

import json
import os
import statistics
from dataclasses import dataclass
from typing import Any

from bench.figures import SHOWN, Results, counting, figure, ratios, shown
from bench.surroundings import HERE

GOALS = os.path.join(HERE, "goals.json")


@dataclass(frozen=True, slots=True)
class Goal:
    """kind: ``times`` (better than the best of ``peers``), ``at most`` or ``at least``."""

    workload: str
    label: str
    kind: str
    number: float
    peers: tuple[str, ...] = ()
    a_worker_more: float = 0.0
    """By how much the limit is higher for each worker beyond the first."""


@dataclass(frozen=True, slots=True)
class Verdict:
    goal: Goal
    found: float | None
    """None: not measured, or with errors; ``why`` then says which."""
    reached: bool | None
    """None: nobody can say, since there is no peer to compare with."""
    why: str = ""


def goals(path: str = GOALS) -> list[Goal]:
    with open(path) as f:
        said: dict[str, Any] = json.load(f)
    return [_goal(each, tuple(said["peers"])) for each in said["goals"]]


def _goal(said: dict[str, Any], peers: tuple[str, ...]) -> Goal:
    (kind,) = [kind for kind in ("times", "at most", "at least") if kind in said]
    if kind != "times":
        peers = ()
    elif "than" in said:
        peers = (said["than"],)
    return Goal(said["workload"], said["figure"], kind, said[kind], peers, said.get("a worker more", 0.0))


def ahead_of_others(names: list[str], path: str = GOALS) -> list[Goal]:
    """To be better than each target of ``names`` that is not one of the peers to be beaten by far."""
    with open(path) as f:
        said: dict[str, Any] = json.load(f)
    return [
        Goal(workload, label, "times", 1, (name,))
        for workload, label in said["ahead of others"].items()
        for name in names
        if name not in said["peers"]
    ]


def judged(goal: Goal, ours: str, data: Results, workers: int = 1) -> Verdict:
    """ours: the name of the target that is judged."""
    path, high = next((path, high) for of, label, path, high in SHOWN if (of, label) == (goal.workload, goal.label))
    mine = counting(data, ours, goal.workload, path)
    real = [x for x in mine if x is not None]
    if not real:
        errors = bool(data.get(ours, {}).get(goal.workload))
        return Verdict(goal, None, False, "with errors" if errors else "not measured")
    if goal.kind == "times":
        theirs = [[figure(one, path) for one in data.get(name, {}).get(goal.workload, [])] for name in goal.peers]
        times = ratios(mine, theirs, high)
        if not times:
            return Verdict(goal, None, None, "no peer to compare with")
        found = statistics.median(times)
        return Verdict(goal, found, found >= goal.number)
    found = statistics.median(real)
    if goal.kind == "at least":
        return Verdict(goal, found, found >= goal.number)
    return Verdict(goal, found, found <= goal.number + goal.a_worker_more * (workers - 1))


def verdicts(names: list[str], data: Results, workers: int = 1) -> list[Verdict]:
    """Of the goals whose workload was measured, or tried; the first of ``names`` is judged."""
    ours, *others = names
    every = goals() + ahead_of_others(others)
    tried = [goal for goal in every if data.get(ours, {}).get(goal.workload)]
    return [
        judged(goal, ours, data, workers)
        for goal in tried
        if goal.kind != "times" or any(data.get(name, {}).get(goal.workload) for name in goal.peers)
    ]


def page(found: list[Verdict]) -> str:
    """A table of them, with a line that counts; empty where there is none."""
    if not found:
        return ""
    lines = ["| workload | figure | goal | found | |", "|---|---|---|---|---|"]
    for one in found:
        word = "not judged" if one.reached is None else "reached" if one.reached else "**not reached**"
        lines.append(f"| {one.goal.workload} | {one.goal.label} | {_said(one.goal)} | {_found(one)} | {word} |")
    known = [one.reached for one in found if one.reached is not None]
    return "\n".join([f"{sum(known)} of {len(known)} goals are reached:", "", *lines]) + "\n"


def _said(goal: Goal) -> str:
    if goal.kind != "times":
        more = f" (+ {shown(goal.a_worker_more)} a worker more)" if goal.a_worker_more else ""
        return f"{goal.kind} {shown(goal.number)}{more}"
    if len(goal.peers) > 1:
        return f"{shown(goal.number)} times better than the better peer"
    return (
        f"ahead of {goal.peers[0]}" if goal.number == 1 else f"{shown(goal.number)} times better than {goal.peers[0]}"
    )


def _found(one: Verdict) -> str:
    if one.found is None:
        return one.why
    return shown(one.found) + ("x" if one.goal.kind == "times" else "")
