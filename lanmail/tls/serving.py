"""The certificate that is served: the one that main.cf names where it can serve, else our own, and looked at again while we run."""

from __future__ import annotations

import datetime
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from lanmail.interfaces import InThread, Report
from lanmail.tls.certificate import Chain
from lanmail.tls.contexts import ServerTls
from lanmail.tls.given import DoesNotFit, GivenFiles, Read, judge, signature
from lanmail.tls.keeping import KeepingTrouble, Kept
from lanmail.tls.openssl import CannotServe, Versions
from lanmail.tls.plan import Plan


class Certificates:
    """``clear`` is for ports where TLS is one's choice, ``mandatory`` for the others; each takes a new certificate while connections run.

    given: what main.cf names. plan: our names now. keep: makes our own where it is due. Both block. DoesNotFit, KeepingTrouble and
    CannotServe are raised at the start; later they are reported, and what was served goes on being served.
    """

    def __init__(
        self,
        given: GivenFiles,
        read: Read,
        plan: Callable[[], Plan],
        keep: Callable[[datetime.datetime], Kept],
        report: Report,
        *,
        clock: IReactorTime,
        versions: Versions,
        mandatory_versions: Versions,
        handshake_limit: float,
    ) -> None:
        self._given = given
        self._read = read
        self._plan = plan
        self._keep = keep
        self._report = report
        self._seen: tuple[object, ...] = ()
        self._served: tuple[Chain, ...] = ()
        self._served = chains = self._chains()
        self.clear = ServerTls(chains, versions, clock=clock, handshake_limit=handshake_limit)
        self.mandatory = ServerTls(chains, mandatory_versions, clock=clock, handshake_limit=handshake_limit)

    async def look(self, in_thread: InThread) -> None:
        """Whether another certificate is to be served: after a change of the files, before the end of one, when our names have changed."""
        try:
            chains = await in_thread(self._chains)
            if chains != self._served:
                self.clear.use(chains)
                self.mandatory.use(chains)
                self._served = chains
                self._report("another certificate is served from now on")
        except (DoesNotFit, KeepingTrouble, CannotServe) as trouble:
            self._report("warning: the certificate stays as it was: {trouble}", trouble=trouble)

    @property
    def changed(self) -> bool:
        """Whether a file that main.cf names was changed since it was last read. A few calls of stat."""
        return signature(self._given.paths) != self._seen

    def _chains(self) -> tuple[Chain, ...]:
        now = datetime.datetime.now(datetime.UTC)
        # Before they are read: what changes in between is read once more.
        self._seen = signature(self._given.paths)
        given = judge(self._given, self._read, self._plan(), now)
        for warning in given.warnings:
            self._report("warning: {warning}", warning=warning)
        if given.chains:
            return given.chains
        kept = self._keep(now)
        for news in kept.news:
            self._report("{news}", news=news)
        return (kept.chain,)
