"""Which device a client is, and how often it may send: the device table as it stands now, read again when its file changes.

A table with a bad line is refused line by line, and the one before stays. The grammar is config/devices.py's.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence

from lanmail.accounts.rates import Allowances, Buckets
from lanmail.config.devices import Device, parse
from lanmail.config.problems import Problem
from lanmail.files import Open, Signature, open_no_link, signature_of
from lanmail.interfaces import InThread, Report
from lanmail.network import IPNetwork, Peer, parse_ip
from lanmail.status import Status, TemporaryFailure

MAX_FILE = 1 << 20
"""Octets: some ten thousand devices."""
_LOOK_EVERY = 1.0  # seconds
_PROBLEMS_TOLD = 20


class BadTable(Exception):
    """The file cannot be used. ``problems`` are its bad lines; where there are none, the text says what is wrong with the whole."""

    def __init__(self, text: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(text)
        self.problems = tuple(problems)

    @property
    def lines(self) -> list[str]:
        """What to tell, a sentence each with its place, and no more than a person reads."""
        told = [str(problem) for problem in self.problems[:_PROBLEMS_TOLD]] or [str(self)]
        left = len(self.problems) - _PROBLEMS_TOLD
        return [*told, f"and {left} more like these"] if left > 0 else told


class Table:
    """The devices of one reading."""

    def __init__(self, devices: Sequence[Device] = (), signature: Signature = ()) -> None:
        self.devices = tuple(devices)
        self.signature = signature
        shelves: dict[tuple[int, int], dict[int, Device]] = {}
        for device in self.devices:
            where = device.network
            shelves.setdefault((where.prefixlen, where.version), {})[_prefix(where)] = device
        self._shelves = sorted(shelves.items(), reverse=True)  # the narrowest networks first

    def of(self, host: str) -> Device | None:
        """The device that a client is: of all networks that contain it, the narrowest one's. None for a UNIX socket."""
        address = parse_ip(host)
        if address is None:
            return None
        for (length, version), shelf in self._shelves:
            if version == address.version:
                device = shelf.get(int(address) >> (address.max_prefixlen - length))
                if device is not None:
                    return device
        return None


def _prefix(network: IPNetwork) -> int:
    return int(network.network_address) >> (network.max_prefixlen - network.prefixlen)


def read_table(path: str, opened: Open = open_no_link, before: Table | None = None) -> Table:
    """What the file says now, or ``before`` where it has not changed; no file is an empty table. Raises BadTable; blocking."""
    try:
        fd = opened(path)
    except FileNotFoundError:
        return Table()
    except OSError as error:
        if os.path.islink(path):
            raise BadTable(f"{path} is a symbolic link; name the file itself") from error
        raise BadTable(f"cannot read {path}: {error.strerror}") from error
    try:
        facts = os.fstat(fd)
        signature = signature_of(facts)
        if before is not None and before.signature == signature:
            return before
        if not stat.S_ISREG(facts.st_mode):
            raise BadTable(f"{path} is not a regular file")
        if facts.st_mode & stat.S_IWOTH:
            raise BadTable(f"{path} can be written by everybody, who could send as anybody; chmod o-w {path}")
        with open(fd, "rb", closefd=False) as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise BadTable(f"cannot read {path}: {error.strerror}") from error
    finally:
        os.close(fd)
    if len(data) > MAX_FILE:
        raise BadTable(f"{path} has more than {MAX_FILE} octets")
    devices, problems = parse(data, path)
    if problems:
        raise BadTable(f"{path} has bad lines", problems)
    return Table(devices, signature)


class DeviceTable:
    """The table that is used. Asked at each MAIL of a client that is not logged in.

    path: ``device_table``; empty for no table. clock: monotonic seconds; the file is looked at no more than once a second, in a
    thread. report: for warnings. opened: how the file is opened. rates: where each client's is kept; None: in this process, those of
    the ten thousand heard last.
    """

    def __init__(
        self,
        path: str,
        in_thread: InThread,
        clock: Callable[[], float],
        report: Report,
        *,
        opened: Open = open_no_link,
        rates: Allowances | None = None,
    ) -> None:
        self._path = path
        self._in_thread = in_thread
        self._clock = clock
        self._report = report
        self._open = opened
        self._table = Table()
        self._in_doubt = False
        self._looked = float("-inf")
        self._told: list[str] = []
        self._rates = Buckets(10_000) if rates is None else rates

    def load(self) -> None:
        """The first reading, before there are threads. BadTable where the file cannot be used: then there is no table to fall back to."""
        if self._path:
            self._table = read_table(self._path, self._open)
            self._looked = self._clock()

    def adopt(self, path: str, table: Table) -> None:
        """A reload: what read_table made of ``path``."""
        self._path, self._table = path, table
        self._in_doubt = False
        self._tell([])

    def of(self, host: str) -> Device | None:
        """The device that a client is, by the table as it was read last."""
        return self._table.of(host)

    async def sending(self, peer: Peer) -> Device | None:
        """The device of a client that begins a message, which is counted; None where the client is none.

        Raises TemporaryFailure (450 4.7.1) where it sends more than its rate lets it.
        """
        if self._path and self._clock() - self._looked >= _LOOK_EVERY:
            await self.refresh()
        device = self.of(peer.host)
        if device is None or device.rate is None:
            return device
        bucket = self._rates.of((device.network, device.rate, peer.block))
        if bucket.take(device.rate.count, device.rate.seconds, self._clock()):
            return device
        if not bucket.told:
            bucket.told = True
            self._report(
                "warning: {host} sends more than {rate} ({path}), and is told to come later",
                host=peer.host,
                rate=str(device.rate),
                path=self._path,
            )
        text = f"Error: too much mail from {peer.host}; its limit is {device.rate}"
        raise TemporaryFailure(Status(450, "4.7.1", text))

    async def refresh(self) -> bool:
        """Look at the file now. False, after warnings, where it cannot be used and the table stays as it was."""
        self._looked = self._clock()  # at once: whoever comes meanwhile takes the table that there is
        before = self._table
        try:
            now = await self._in_thread(read_table, self._path, self._open, before)
        except BadTable as bad:
            self._tell(bad.lines)
            return False
        self._tell([])
        # An editor that writes in place, or renames first, leaves nothing for a moment. Taken for the truth, it would refuse what
        # devices send just then; so what is gone counts only where it still is at the next look.
        gone = bool(before.devices) and not now.devices
        self._in_doubt = gone and not self._in_doubt
        if not self._in_doubt:
            self._table = now
        return True

    def _tell(self, lines: list[str]) -> None:
        """Once for each state of the file."""
        if lines and lines != self._told:
            for line in lines:
                self._report("warning: {line}", line=line)
            self._report("warning: {path}: the devices stay as they were before", path=self._path)
        self._told = lines
