"""What a POP3 client may want that the conversation cannot answer by itself."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Somebody says who they are. Answer with ``logged_in`` or ``refuse``.

    Octets as they came: names are judged by accounts.
    """

    username: bytes
    password: bytes = field(repr=False)
    method: str = "USER"  # or the name of the SASL mechanism


@dataclass(frozen=True, slots=True)
class ListScan:
    """LIST of everything. Answer with ``heading``, the pieces of ``scan_listing``, and ``finish``."""


@dataclass(frozen=True, slots=True)
class ListUids:
    """UIDL of everything. Answer with ``heading``, the pieces of ``uid_listing``, and ``finish``; or ``refuse``."""


@dataclass(frozen=True, slots=True)
class TellUid:
    """UIDL of one letter. Answer with ``unique_id`` or ``refuse``."""

    number: int


@dataclass(frozen=True, slots=True)
class Retrieve:
    """RETR, or TOP where ``body_lines`` is a number.

    Answer with ``heading``, the text as ``piece`` gives it, and ``finish``; or ``refuse``. When the text breaks off there is
    nothing to answer: the connection must be dropped, or the client takes a part for the whole.
    """

    number: int
    body_lines: int | None = None


@dataclass(frozen=True, slots=True)
class StartTls:
    """STLS. Answer with ``starting_tls``, begin TLS, and then ``secured``. Until then nothing is understood."""


@dataclass(frozen=True, slots=True)
class Commit:
    """QUIT. Answer with ``committed`` once ``deleted`` are gone, or ``refuse`` when none of them is."""

    deleted: frozenset[int]


Event = Authenticate | ListScan | ListUids | TellUid | Retrieve | StartTls | Commit
