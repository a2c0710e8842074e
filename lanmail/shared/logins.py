"""Logins that were right a moment ago, remembered by all processes for each other. (login_memory.py says what for, and until when.)"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Hashable, Sequence
from itertools import chain

from lanmail.accounts.login_memory import Proof, parts
from lanmail.shared.table import STAMP, WAYS, Entry, Table

_STAMP = STAMP * WAYS
_TAG = range(2 * WAYS, 6 * WAYS, WAYS)
WORDS = 6
"""Of an entry: its key; until when it holds; and a keyed hash in four words."""

CELL = 2
"""Words of each process: a generation, and what it belongs to."""


class SharedLogins:
    """login_memory.LoginMemory over all processes.

    An entry's hash is of the login, of the password, of the state of the files, of the moment until which it holds and of a
    generation. So an entry that is read while it is written, or half of which a dying process wrote, is one that proves nothing; and
    one that was true of an earlier state proves nothing ever again, since whoever sees another state begins a new generation.
    What is replaced because there is no place left is what holds for the shortest time.

    cells: of each process CELL words; the greatest generation in them is everybody's. secret: the key of the hashes.
    """

    def __init__(self, table: Table, cells: Sequence[memoryview], mine: int, secret: bytes) -> None:
        self._table = table
        self._cells = cells
        self._cell = cells[mine]
        self._secret = secret
        self._seen: tuple[Hashable, int] = (None, 0)  # a state, and its mark

    def knows(self, proof: Proof, state: Hashable, now: float) -> bool:
        age, key = self._age(state), self._key(proof)
        return any(self._proves(entry, proof, age, now) for entry in self._entries(key))

    def remember(self, proof: Proof, state: Hashable, until: float, now: float) -> None:
        age, key, moment = self._age(state), self._key(proof), int(until * 1e9)
        # What a colleague remembers of this person may be an older password; to take it from there is all that anybody ever does in
        # another's part. It is one word, and if the colleague writes there at this very moment, then what it has just found right.
        for part, at in self._table.others(key):
            part[at + _STAMP] = 0
        own = self._table.own(key)
        if own is not None:
            self._table.drop(own)
        self._table.place(key, moment, *struct.unpack("=4Q", self._tag(proof, age, moment)))

    def forget(self) -> None:
        newest = max(cell[0] for cell in self._cells)
        self._cell[1] = 0  # of no state
        self._cell[0] = newest + 1

    def _age(self, state: Hashable) -> bytes:
        """The state, and the generation that belongs to it: a new one, if what was seen last, by anybody, was another."""
        if state != self._seen[0]:
            self._seen = (state, self._table.key(repr(state)))
        mark = self._seen[1]
        newest, known = max((cell[0], cell[1]) for cell in self._cells)
        if known != mark:
            newest += 1
            # In this order: who comes in between finds the new state with the generation before, and nothing is proven by the two.
            self._cell[1] = mark
            self._cell[0] = newest
        return struct.pack("=2Q", newest, mark)

    def _proves(self, entry: Entry, proof: Proof, age: bytes, now: float) -> bool:
        part, at = entry
        until = part[at + _STAMP]
        tag = struct.pack("=4Q", *(part[at + word] for word in _TAG))
        return now * 1e9 < until and hmac.compare_digest(tag, self._tag(proof, age, until))

    def _entries(self, key: int) -> chain[Entry]:
        own = self._table.own(key)
        return chain((own,) if own else (), self._table.others(key))

    def _key(self, proof: Proof) -> int:
        return self._table.key(f"{proof.service} {proof.user.name}")

    def _tag(self, proof: Proof, age: bytes, until: int) -> bytes:
        text = age + struct.pack("=Q", until) + parts(proof)
        return hashlib.blake2b(text, key=self._secret, digest_size=32).digest()
