"""Postfix's own parameters: which there are, their defaults, and what it means here that somebody set one. The data is postfix.txt."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib.resources import files


class Standing(Enum):
    """What becomes of a parameter here; the values are the marks in postfix.txt."""

    IMPLEMENTED = "="
    NO_EFFECT = "-"
    NOT_IMPLEMENTED = "?"
    DANGEROUS = "!"
    """Not implemented, and it would change who may send or where mail goes."""

    @property
    def meaning(self) -> str:
        """The class in words, as it stands behind the name of a parameter."""
        return _MEANINGS[self]


_MEANINGS = {
    Standing.IMPLEMENTED: "it is one of ours too",
    Standing.NO_EFFECT: "it has no effect here",
    Standing.NOT_IMPLEMENTED: "it is not implemented, and nothing is done about it",
    Standing.DANGEROUS: "it is not implemented, and it would change who may send or where mail goes",
}


@dataclass(frozen=True, slots=True)
class Known:
    """A parameter of Postfix.

    default: as written there; empty where it is made at run time. same: other values that ask for what is done here
    anyhow. tolerable: values of a DANGEROUS one that a warning is enough for.
    """

    name: str
    standing: Standing
    default: str
    same: tuple[str, ...] = ()
    tolerable: tuple[str, ...] = ()


@cache
def known_parameters() -> dict[str, Known]:
    """All of them by name. Names that begin with ``*`` stand for those of any transport in master.cf."""
    found: dict[str, Known] = {}
    last = ""
    for line in files("lanmail.config").joinpath("postfix.txt").read_text("utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith(" "):
            word, _, value = line.strip().partition(" ")
            before = found[last]
            same, tolerable = before.same, before.tolerable
            if word == "same":
                same = (*same, value)
            else:
                tolerable = (*tolerable, value)
            found[last] = Known(before.name, before.standing, before.default, same, tolerable)
        else:
            name, _, default = line[2:].partition(" =")
            last = name
            found[name] = Known(name, Standing(line[0]), default.strip())
    return found


@cache
def _suffixes() -> tuple[str, ...]:
    return tuple(name[1:] for name in known_parameters() if name.startswith("*"))


def known(name: str) -> Known | None:
    """What Postfix has by that name; None where it has nothing."""
    found = known_parameters().get(name)
    if found is None and name.endswith(_suffixes()) and not name.startswith("*"):
        return Known(name, Standing.NO_EFFECT, "")
    return found
