"""What is answered for: the journal and its history, and the mailboxes it is delivered to."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from lanmail.config.parameters import Settings
from lanmail.delivery.local import LocalDelivery
from lanmail.interfaces import User, nothing_to_tell
from lanmail.mailbox import expunge
from lanmail.mailbox.disk import SYSTEM
from lanmail.mailbox.store import Locking, MailboxFile
from lanmail.message import latest_id
from lanmail.spool.adoption import adopt
from lanmail.spool.checkpoint import Checkpoints
from lanmail.spool.history import History
from lanmail.spool.incoming import IncomingFolder
from lanmail.spool.journal import Journal, JournalTrouble
from lanmail.spool.recovery import Recovery
from lanmail.spool.shares import Colleagues, Share, Unknown
from lanmail.status import TemporaryFailure
from lanmail.wiring.beside import Beside
from lanmail.wiring.place import CannotStart, Place, log

# Seconds between two tries to look for what a crash left, where another program held a mailbox, or it could not be read: twice as long
# each time, since most programs hold one for a moment.
RECOVER_AGAIN = 0.25
RECOVER_EVERY = 60.0


class Keeping:
    """journal, incoming: what is answered for. tell: to ``history``, if one is kept. delivery: into mailboxes.

    share: which of the workers this is. last_id: the greatest queue id that any of them has given.

    Raises CannotStart, StateTrouble.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        settings, state = place.settings, place.state
        share = self.share = Share(place.colleagues.number, place.colleagues.count)
        history = self.history = History(
            os.path.join(state.path, share.history), settings.history_days, log.report, wall=time.time, share=share
        )
        self.tell = history.tell if settings.history_days else nothing_to_tell
        self.incoming = IncomingFolder(state.folder("incoming"), place.in_thread, log.report)
        self.mailbox_state = state.folder("mailboxes")
        path = os.path.join(state.path, share.journal)
        try:
            journal = self.journal = self._open(path, share)
        except (JournalTrouble, Unknown) as trouble:
            raise CannotStart(str(trouble)) from trouble

        self._locking = _locking(settings)
        beside = self._beside = (
            Beside(place, lambda: self.checkpoints, lambda: self.recovery, self._recover) if share.count > 1 else None
        )
        boot = SYSTEM.boot()
        self.checkpoints = Checkpoints(
            journal,
            self.mailbox_of,
            log.report,
            before_forget=history.flush,
            settle_others=beside.agreement.settle if beside else None,
        )
        try:
            self.recovery = Recovery(journal, self.mailbox_of, self.checkpoints, log.report, self.tell, boot=boot)
        except TemporaryFailure as failure:
            raise CannotStart(f"{path}: {failure}") from failure
        if beside is not None:
            beside.begin(self.recovery)
        self.delivery = LocalDelivery(
            self.mailbox_of,
            journal,
            self.recovery,
            self.checkpoints,
            log.report,
            boot=boot,
            mailbox_size_limit=settings.mailbox_size_limit,
        )
        self._recovering: LoopingCall | None = None
        self._waits_again: Callable[[], None] = lambda: None

    def _open(self, path: str, share: Share) -> Journal:
        """Raises JournalTrouble, Unknown."""
        folder = self._place.state.path
        if share.count == 1:
            # With more, who starts them has done so before the first (beside.before_the_workers).
            expunge.sweep(self.mailbox_state)
            adopt(folder, log.report)
            journal = Journal(path, self.incoming, log.report)
            self.last_id = journal.last_id_at_start
            return journal
        others = Colleagues(folder, share, log.report)
        journal = Journal(path, self.incoming, log.report, orphans=others.orphans)
        self.last_id = latest_id((journal.last_id_at_start, others.last_id()))
        return journal

    def adopt(self, settings: Settings) -> None:
        """A reload."""
        self._locking = _locking(settings)
        self.delivery.mailbox_size_limit = settings.mailbox_size_limit

    def mailbox_of(self, user: User) -> MailboxFile:
        """The mailbox file of a user, whose name is safe as the name of a file."""
        return MailboxFile(
            self.path_of(user),
            user,
            group=None,  # the opener knows it
            locking=self._locking,
            state_folder=self.mailbox_state,
            report=log.report,
            mend=self.recovery.mend,
            settle=self.checkpoints.settle,
            opener=self._place.rights.opener,
            turns=self._beside.turns if self._beside else None,
        )

    def path_of(self, user: User) -> str:
        """Where their mailbox is, or would be."""
        return os.path.join(self._place.settings.mail_spool_directory, user.name)

    def size_of(self, user: User) -> int:
        """Of their mailbox, in octets."""
        try:
            return os.lstat(self.path_of(user)).st_size
        except FileNotFoundError:
            return 0

    def start(self, waits_again: Callable[[], None]) -> None:
        """waits_again: what was not found in its mailbox is to be delivered.

        Mailboxes that a crash left half written are mended before they are used, whoever comes first; so the ports may answer.
        """
        self.recovery.waits_again = lambda: self._place.reactor.callFromThread(waits_again)
        self.history.start()
        self.journal.start()
        if self._beside is not None:
            self._beside.start()
        self._waits_again = waits_again
        loop = self._recovering = LoopingCall(self._recover_sometimes)
        loop.clock = self._place.reactor
        loop.start(RECOVER_AGAIN)

    def stop_recovering(self) -> None:
        """A run that is under way ends soon."""
        if self._recovering is not None:
            self._recovering.stop()
        self.recovery.stop()
        if self._beside is not None:
            self._beside.stop()

    def close(self) -> None:
        """Once no thread is at anything."""
        if self._beside is not None:
            self._beside.close()
        self.checkpoints.close()
        self.journal.close()
        self.history.close()
        self.incoming.close()

    def _recover_sometimes(self) -> Deferred[None] | None:
        """At start, and later what could not be looked into then."""
        loop = self._recovering
        assert loop is not None
        if not self.recovery.left:
            loop.interval = RECOVER_EVERY
            return None
        loop.interval = min(2 * (loop.interval or RECOVER_AGAIN), RECOVER_EVERY)
        return self._recover()

    def _recover(self) -> Deferred[None]:
        def failed(failure: Failure) -> None:
            if failure.check(TemporaryFailure) is None:  # of that, the journal tells
                log.failure("while recovering", failure)

        return self._place.in_thread(self.recovery.run).addErrback(failed).addCallback(lambda _: self._waits_again())


def _locking(settings: Settings) -> Locking:
    locks = settings.mailbox_delivery_lock
    return Locking("dotlock" in locks, "fcntl" in locks, "flock" in locks, settings.stale_lock_time)
