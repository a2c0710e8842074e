"""The certificate that is served: the one that main.cf names where it can serve, else our own, and looked at again while we run."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from twisted.internet.defer import DeferredLock
from twisted.internet.interfaces import IReactorTime

from lanmail.files import Open, Signature, open_plainly, passes
from lanmail.interfaces import InThread, Report
from lanmail.tls.certificate import Chain, is_rsa
from lanmail.tls.contexts import ServerTls
from lanmail.tls.given import DoesNotFit, GivenFiles, Read, judge, signature
from lanmail.tls.keeping import KeepingTrouble, Kept
from lanmail.tls.openssl import CannotServe, Versions
from lanmail.tls.plan import Plan


class NotNow(Exception):
    """A file cannot be had at the moment, which says nothing of what is in it (files.passes)."""


@dataclass(frozen=True, slots=True)
class _Chains:
    """usual: for every port but ``old_devices``' own, which has none where it is not asked for."""

    usual: tuple[Chain, ...] = ()
    old_devices: tuple[Chain, ...] = ()


class Certificates:
    """``clear`` is for ports where TLS is one's choice, ``mandatory`` for the others; each takes a new certificate while connections run.
    ``old_devices`` is for the port of devices that know nothing newer than TLS 1.0; None unless asked for with ``old``.

    given: what main.cf names. read, opened: how its files are read and looked at. plan: our names now. keep: makes our own where it is
    due. All of these block: here they are called directly, later in a thread. DoesNotFit, KeepingTrouble and CannotServe are raised
    at the start; later they are reported, and what was served goes on being served.
    """

    def __init__(
        self,
        given: GivenFiles,
        read: Read,
        plan: Callable[[], Plan],
        keep: Callable[[datetime.datetime], Kept],
        report: Report,
        *,
        opened: Open = open_plainly,
        clock: IReactorTime,
        versions: Versions,
        mandatory_versions: Versions,
        handshake_limit: float,
        old: bool = False,
    ) -> None:
        self._given = given
        self._read = read
        self._open = opened
        self._plan = plan
        self._keep = keep
        self._report = report
        self._old = old
        self._seen: tuple[Signature, ...] | None = None
        self._served = _Chains()
        self._told = ""
        self._looking = DeferredLock()
        self._served = chains = self._chains()
        made = partial(ServerTls, clock=clock, handshake_limit=handshake_limit)
        self.clear = made(chains.usual, versions)
        self.mandatory = made(chains.usual, mandatory_versions)
        self.old_devices = made(chains.old_devices, Versions.OLD) if old else None

    def adopt(self, other: Certificates) -> None:
        """A reload: what ``other`` was made with, and what it found, holds for the ports of this one."""
        self._given, self._read, self._open = other._given, other._read, other._open
        self._plan, self._keep = other._plan, other._keep
        self._seen, self._served = other._seen, other._served
        self.clear.adopt(self._served.usual, other.clear)
        self.mandatory.adopt(self._served.usual, other.mandatory)
        if self.old_devices is not None and other.old_devices is not None:
            self.old_devices.adopt(self._served.old_devices, other.old_devices)

    async def look(self, in_thread: InThread) -> None:
        """Whether another certificate is to be served: after a change of the files, before the end of one, when our names have changed."""
        await self._look(in_thread, self._chains)

    async def look_if_changed(self, in_thread: InThread) -> None:
        """The same, where a file that main.cf names was changed since it was last read; for every few seconds."""
        if self._given.paths:
            await self._look(in_thread, self._chains_if_changed)

    @property
    def changed(self) -> bool:
        """Whether a file that main.cf names was changed since it was last read. Blocking."""
        return signature(self._given.paths, self._open) != self._seen

    async def _look(self, in_thread: InThread, chains_now: Callable[[], _Chains]) -> None:
        await self._looking.acquire()
        try:
            chains = await in_thread(chains_now)
            if chains != self._served:
                self._use(chains)
                self._report("another certificate is served from now on")
            self._told = ""
        except (DoesNotFit, KeepingTrouble, CannotServe, NotNow) as trouble:
            if str(trouble) != self._told:
                self._report("warning: the certificate stays as it was: {trouble}", trouble=trouble)
            self._told = str(trouble)
        finally:
            self._looking.release()

    def _use(self, chains: _Chains) -> None:
        """On all ports, or, with CannotServe, on none."""
        try:
            self._show(chains)
        except CannotServe:
            self._show(self._served)
            raise
        self._served = chains

    def _show(self, chains: _Chains) -> None:
        self.clear.use(chains.usual)
        self.mandatory.use(chains.usual)
        if self.old_devices is not None:
            self.old_devices.use(chains.old_devices)

    # in a thread, one at a time

    def _chains_if_changed(self) -> _Chains:
        return self._chains() if self._signature() != self._seen else self._served

    def _chains(self) -> _Chains:
        # Before they are read: what changes in between is read once more.
        self._seen = self._signature()
        now = datetime.datetime.now(datetime.UTC)
        given = judge(self._given, self._read_now, self._plan(), now)
        for warning in given.warnings:
            self._report("warning: {warning}", warning=warning)
        # An old device may know no other keys than RSA's. Where none of the given ones has such a key, ours does.
        rsa = tuple(chain for chain in given.chains if is_rsa(chain)) if self._old else ()
        if given.chains and (rsa or not self._old):
            return _Chains(given.chains, rsa)
        kept = self._keep(now)
        for news in kept.news:
            self._report("{news}", news=news)
        if self._old and not rsa:
            if kept.old_devices is None:
                raise KeepingTrouble("no certificate for tls_legacy_clients was made")
            rsa = (kept.old_devices,)
        return _Chains(given.chains or (kept.chain,), rsa)

    def _signature(self) -> tuple[Signature, ...] | None:
        try:
            return signature(self._given.paths, self._open)
        except OSError as error:
            self._not_now(error)
            return None

    def _read_now(self, path: str) -> bytes:
        try:
            return self._read(path)
        except OSError as error:
            if passes(error):
                self._not_now(error)
            raise

    def _not_now(self, error: OSError) -> None:
        """Raises NotNow where something is served to go on with. The next look tries again, at the start too."""
        self._seen = None
        if self._served.usual:
            raise NotNow(f"{error.filename}: {error.strerror}") from error
