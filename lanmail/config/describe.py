"""A configuration as text for a person: what ``twist lanmail --check`` and ``lanmail config`` print."""

from __future__ import annotations

from lanmail.config.parameters import PARAMETERS
from lanmail.config.problems import Severity
from lanmail.config.settings import Reading

_HEADINGS = {
    Severity.ERROR: "# Errors; each of them keeps the server from starting:",
    Severity.WARNING: "# Warnings:",
    Severity.NOTE: "# Of no effect here, and harmless:",
}


def describe(reading: Reading, *, everything: bool = False) -> str:
    """What differs from its default (or, with ``everything``, every parameter), then what is wrong, then a verdict of one line.

    The text is a main.cf: all but the parameters stands behind ``#``.
    """
    lines = [_heading(reading, everything)]
    for name in PARAMETERS:
        if everything or not reading.settings.written[name].is_default:
            lines += assignment(reading, name)
    for severity, heading in _HEADINGS.items():
        if found := [problem for problem in reading.problems if problem.severity is severity]:
            lines += ["", heading, *(f"#   {problem}" for problem in found)]
    return "\n".join([*lines, "", f"# {verdict(reading)}"])


def assignment(reading: Reading, name: str) -> list[str]:
    """A parameter as it was written, or its default; where that refers to others, what it comes to, in a comment."""
    written = reading.settings.written[name]
    if written.text == written.expanded or not written.expanded:
        return [f"{name} = {written.text}".rstrip()]
    return [f"{name} = {written.text}", f"#   that is: {written.expanded}"]


def verdict(reading: Reading) -> str:
    """Whether a server would start, and what there is to think of."""
    counts = [
        f"{len(found)} {word}{'' if len(found) == 1 else 's'}"
        for word, found in (("error", reading.errors), ("warning", reading.warnings))
        if found
    ]
    would = "would not start" if reading.errors else "would start"
    return f"{reading.file}: {', '.join(counts) or 'nothing is wrong'}; the server {would} with it"


def _heading(reading: Reading, everything: bool) -> str:
    if everything:
        return f"# {reading.file}: every parameter"
    if all(written.is_default for written in reading.settings.written.values()):
        return f"# {reading.file}: every parameter has its default"
    return f"# {reading.file}: what it sets; every other parameter has its default (lanmail config --all shows them)"
