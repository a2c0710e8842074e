"""The names under which POP3 clients remember messages: from the content, without what mbox readers rewrite in it."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from lanmail.mailbox.essence import Essence
from lanmail.mailbox.index import IDENTITY, Entry, Index
from lanmail.mailbox.windows import Changed, Window


def identify(fd: int, index: Index) -> None:
    """Make sure that the index holds the content identity of each message; reads only those that it lacks.

    Needs no lock. Raises Changed where the messages do not stand where the index says, OSError, and then keeps nothing.
    """
    known = len(index.identities) // IDENTITY
    if known == len(index):
        return
    if not index.holds(fd, os.fstat(fd)):
        raise Changed
    window = Window(fd, index.size)
    found = bytearray()
    for number in range(known + 1, len(index) + 1):
        if index.glanced and not index.begins(fd, number):
            raise Changed
        found += _identity(window, index.entry(number))
    # What moved meanwhile stands elsewhere now.
    if not index.holds(fd, os.fstat(fd)):
        raise Changed
    index.identities += found


def unique_ids(fd: int, index: Index, adopted: Mapping[bytes, Sequence[str]]) -> list[str]:
    """The UIDL of every message, in order; all different. Raises Changed, OSError.

    It is the content identity in hex; the second, third copy of a message gets -2, -3 in the order of the file.
    adopted: from content identity to the UIDLs that an older server gave its copies, in the order of the file.
    """
    identify(fd, index)
    digits = index.identities.hex()
    names = [digits[at : at + 2 * IDENTITY] for at in range(0, len(digits), 2 * IDENTITY)]
    if not adopted and len(set(names)) == len(names):  # nearly always
        return names
    copies: Counter[str] = Counter()
    # A name that an older server gave looks in no way like ours, unless somebody took pains. It stays taken when its message is
    # gone: what had to make way for it would otherwise be renamed.
    taken = {name for older in adopted.values() for name in older}
    for at, identity in enumerate(names):
        copies[identity] += 1
        old = adopted.get(bytes.fromhex(identity), ())
        if copies[identity] <= len(old):
            names[at] = old[copies[identity] - 1]
            continue
        while (name := _name(identity, copies[identity])) in taken:
            copies[identity] += 1
        names[at] = name
    return names


def _name(identity: str, copy: int) -> str:
    return identity if copy == 1 else f"{identity}-{copy}"


def find_again(fd: int, old: Index, new: Index) -> list[int | None]:
    """For each message of ``old`` its number in ``new``, an index of the same mailbox read later; None where it is gone.

    By content identity, the copies of one message in the order of the file. A message of ``old`` whose identity was never
    asked for (``identify``) cannot be found: None. ``fd`` is the file of ``new``. Raises Changed, OSError.
    """
    if new.continues(old):
        return list(range(1, len(old) + 1))
    identify(fd, new)
    places: defaultdict[bytes, list[int]] = defaultdict(list)
    for number in range(len(new), 0, -1):
        identity = new.identity(number)
        assert identity is not None
        places[identity].append(number)
    found: list[int | None] = []
    for number in range(1, len(old) + 1):
        identity = old.identity(number)
        there = places[identity] if identity is not None else []
        found.append(there.pop() if there else None)
    return found


def identity_of(pieces: Iterable[bytes]) -> bytes:
    """The content identity of a message's text, in pieces cut anywhere: what follows the `From ` line, as it stands in a mailbox."""
    essence = Essence()
    carriage_return = b""
    for piece in pieces:
        # Also where the line ends of the message are not all CR LF: they are no longer when mutt or Dovecot has put a field of its own,
        # which ends with LF, into a header.
        if carriage_return or b"\r" in piece:
            piece = carriage_return + piece
            carriage_return = b"\r" if piece.endswith(b"\r") else b""
            piece = piece[: len(piece) - len(carriage_return)].replace(b"\r\n", b"\n")
        essence.feed(piece)
    essence.feed(carriage_return)
    return essence.digest()


def _identity(window: Window, entry: Entry) -> bytes:
    return identity_of(window.pieces(entry.text, entry.end))
