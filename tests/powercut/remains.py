"""What a power cut may leave of a disk: one of the many states that the kernel was free to leave it in, drawn by chance.

Octets reach the disk by pages of 4096 octets, in any order, and of a page that was being written some of its sectors of 512. Each
sector is then as it was at some moment between the last sync and now. The length is what it was at some such moment too,
independently: where it is ahead of the octets, there are NULs. Names come in the order in which they were changed, in all folders
together, as a journalling file system has them, or in each folder by itself.
"""

from __future__ import annotations

import os
import random
from bisect import bisect_right
from collections.abc import Callable, Collection

from tests.powercut.disk import Disk, File, Names

PAGE, SECTOR = 4096, 512

# From the unit's number and how many versions it has: which of them the disk has. 0 is what was synced.
Pick = Callable[[int, int], int]


def draw(disk: Disk, chance: random.Random) -> dict[str, tuple[File, bytes]]:
    """Every name that is left, with its file and the octets that are left of it (none for a folder)."""
    mood = chance.choice(("lost", "kept", "each", "each", "each", "each", "each", "each"))
    left = {}
    octets: dict[int, bytes] = {}
    for path, file in _reachable(names_left(disk, mood, chance), disk.tops).items():
        if id(file) not in octets:
            fate = chance.choice(FATES) if mood == "each" else mood
            octets[id(file)] = b"" if file.folder else octets_left(file, fate, chance)
        left[path] = (file, octets[id(file)])
    return left


def names_left(disk: Disk, mood: str, chance: random.Random) -> Names:
    """mood: ``lost`` or ``kept`` for all that was not synced, else some of it."""
    ends: dict[str, int] = {}  # of each folder: the number of the last change of its names that is left
    for naming in disk.namings:
        if naming.synced:
            ends[naming.folder] = naming.number
    names = dict(disk.durable)
    if mood == "each":
        newest = disk.namings[-1].number if disk.namings else -1
        # A third each: no more than was synced, all, some.
        if chance.random() < 0.6:  # the order of all folders together
            end = _between(max(ends.values(), default=-1), newest, chance)
            ends = {naming.folder: end for naming in disk.namings}
        else:
            for folder in sorted({naming.folder for naming in disk.namings}):
                ends[folder] = _between(ends.get(folder, -1), newest, chance)
    for naming in disk.namings:
        if mood == "kept" or naming.number <= ends.get(naming.folder, -1):
            naming.apply(names)
    return names


def _between(least: int, most: int, chance: random.Random) -> int:
    return chance.choice((least, most, chance.randint(least, max(least, most))))


def _reachable(names: Names, tops: Collection[str]) -> Names:
    """Without those whose folder is lost, and what is not below these folders at all."""
    reached: Names = {}
    for path in sorted(names):
        if path in tops or os.path.dirname(path) in reached:
            reached[path] = names[path]
    return reached


FATES = ("lost", "kept", "length", "start", "pages", "pages", "sectors", "sectors", "one page")


def octets_left(file: File, fate: str, chance: random.Random) -> bytes:
    """Raises KeyError for a fate that is none of FATES."""
    count = len(file.pending)
    if not count or fate == "lost":
        return bytes(file.durable)
    if fate == "kept":
        return file.seen()
    moment = chance.choice((0, count, chance.randint(0, count)))
    match fate:
        case "length":  # and nothing else
            return _assemble(file, count, PAGE, lambda unit, versions: 0, None)
        case "start":  # in the order in which it was done
            return _assemble(file, moment, PAGE, None, chance)
        case "pages":
            return _assemble(file, moment, PAGE, lambda unit, versions: chance.choice((0, versions - 1)), chance)
        case "sectors":
            return _assemble(file, moment, SECTOR, lambda unit, versions: chance.randrange(versions), chance)
        case "one page":  # all but one, of which some sectors came too late
            missing = chance.choice(sorted(_touched(file, PAGE)) or [0])
            pick: Pick = lambda unit, versions: (  # noqa: E731
                chance.randrange(versions) if unit * SECTOR // PAGE == missing else versions - 1
            )
            return _assemble(file, count, SECTOR, pick, None)
    raise KeyError(fate)


def _touched(file: File, unit: int) -> dict[int, list[int]]:
    """For each unit that was changed since the sync: the moments after which it was another (1 is after the first change)."""
    touched: dict[int, list[int]] = {}
    length = reach = len(file.durable)
    for moment, change in enumerate(file.pending, 1):
        after = change.length(length)
        first, last = change.at, change.at + len(change.data)
        if after < length:
            first, last = after, reach
        for number in range(first // unit, -(-last // unit)):
            touched.setdefault(number, []).append(moment)
        length, reach = after, max(reach, after)
    return touched


def _assemble(file: File, moment: int, unit: int, pick: Pick | None, chance: random.Random | None) -> bytes:
    """The file with the length that it had at that moment, and of each unit the version that ``pick`` says; None: that of the moment.

    chance: whether a length that was growing may have got as far as the end of some page.
    """
    lengths = [len(file.durable)]
    for change in file.pending:
        lengths.append(change.length(lengths[-1]))
    # Where the file was cut: at which moment, to what length. What was freed then was not written to any more.
    cuts = [
        (at, change.at)
        for at, change in enumerate(file.pending, 1)
        if change.kind == "Z" and change.at < lengths[at - 1]
    ]
    length = lengths[moment]
    grew = moment > 0 and length > lengths[moment - 1] and file.pending[moment - 1].kind == "W"
    if chance is not None and grew and chance.random() < 0.5:
        length = min(length, chance.randint(lengths[moment - 1] // PAGE, length // PAGE + 1) * PAGE)
        length = max(length, lengths[moment - 1])
    content = bytearray(file.durable[:length])
    content.extend(bytes(length - len(content)))
    for number, moments in sorted(_touched(file, unit).items()):
        start = number * unit
        if start >= length:
            continue
        possible = [0, *moments]
        # What lies behind a cut that is not on the disk yet was written to other blocks, which nothing points to.
        barrier = next((at for at, to in cuts if at > moment and start // PAGE * PAGE >= to), None)
        if barrier is not None:
            possible = [at for at in possible if at < barrier]
        # And what lay behind one that is on the disk is not there any more.
        since = max((at for at, to in cuts if at <= moment and start >= to), default=0)
        possible = [at for at in possible if at >= since] or [since]
        choice = max(0, bisect_right(possible, moment) - 1) if pick is None else pick(number, len(possible))
        version = possible[choice]
        piece = _unit(file, start, unit, moments[: bisect_right(moments, version)])
        for at, to in cuts:
            if version < at <= moment and to < start + unit:
                piece[max(0, to - start) :] = bytes(unit - max(0, to - start))
        content[start : start + unit] = piece[: min(unit, length - start)]
    return bytes(content)


def _unit(file: File, start: int, unit: int, moments: list[int]) -> bytearray:
    """What the unit at ``start`` held after the changes of these moments; NULs behind the end."""
    piece = bytearray(file.durable[start : start + unit])
    piece.extend(bytes(unit - len(piece)))
    for change in (file.pending[moment - 1] for moment in moments):
        if change.kind == "W":
            left, right = max(change.at, start), min(change.at + len(change.data), start + unit)
            piece[left - start : right - start] = change.data[left - change.at : right - change.at]
        else:
            keep = max(0, change.at - start)
            piece[keep:] = bytes(unit - keep)
    return piece
