"""Octets cut anywhere, as a network cuts them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from hypothesis import strategies as st


def cut_up(octets: bytes) -> st.SearchStrategy[list[bytes]]:
    """The octets in any number of pieces, empty ones too."""
    places = st.lists(st.integers(0, len(octets)), max_size=6).map(sorted)
    return places.map(lambda cuts: _pieces(octets, [0, *cuts, len(octets)]))


def every_cut(octets: bytes) -> Iterator[list[bytes]]:
    """In two pieces, at each place; and each octet by itself."""
    for place in range(len(octets) + 1):
        yield [octets[:place], octets[place:]]
    yield [octets[i : i + 1] for i in range(len(octets))]


def _pieces(octets: bytes, places: list[int]) -> list[bytes]:
    return [octets[start:end] for start, end in itertools.pairwise(places)]
