"""What a target of the search is: something that takes octets of a stranger, and what must hold whatever they are."""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.caller import PYTHON

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True)
class Target:
    """judge: fed with any octets; raises, AssertionError or anything else, where something does not hold.

    seeds: inputs that mean something. words: of its grammar.
    """

    name: str
    judge: Callable[[bytes], None]
    seeds: Sequence[bytes]
    words: Sequence[bytes] = ()


def chance_of(data: bytes) -> random.Random:
    """What is left to chance in a judgement hangs on the input alone, so that an input that was kept fails again."""
    return random.Random(zlib.crc32(data))


def cuts_of(data: bytes, most: int = 6) -> list[bytes]:
    """The input in a few pieces."""
    chance = chance_of(data)
    places = sorted(chance.randint(0, len(data)) for _ in range(chance.randint(1, most)))
    return [data[begin:end] for begin, end in zip([0, *places], [*places, len(data)], strict=True)]


def is_a_sentence(text: str, longest: int = 4000) -> None:
    """Fit for a log or a person: of one line, not endless, and in nobody's programming language."""
    assert text and len(text) <= longest, f"{len(text)} characters"
    assert not CONTROL.search(text), repr(text)
    assert not PYTHON.search(text.encode("utf-8", "replace")) or "Error:" in text, text
