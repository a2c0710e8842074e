"""What a worker keeps with its colleagues: turns at mailboxes, and what they flush for each other. And what comes before the first."""

from __future__ import annotations

import os
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall

from lanmail.interfaces import Report
from lanmail.mailbox import expunge
from lanmail.mailbox.turns import Turns, forget_notes
from lanmail.queue.agreement import Agreement
from lanmail.spool.adoption import adopt
from lanmail.spool.checkpoint import Checkpoints
from lanmail.spool.journal import JournalTrouble
from lanmail.spool.recovery import Recovery
from lanmail.state import StateFolder
from lanmail.threads import Threads
from lanmail.wiring.place import CannotStart, Place

# Threads in which colleagues are answered. They wait for flushes, and for nobody who waits for them.
ANSWERING = 2
# Seconds after which it is looked into a mailbox that a colleague has just asked about: it lets go of it meanwhile.
AGAIN = 0.05


def before_the_workers(state: StateFolder, report: Report) -> None:
    """What an earlier run left is put together for the first worker. By whoever starts the workers, as ``mail_owner``, before there is
    one; not when one is started anew. Blocks. Raises CannotStart.
    """
    try:
        forget_notes(state.folder("turns"))
        expunge.sweep(state.folder("mailboxes"))
        adopt(state.path, report)
    except OSError as error:
        raise CannotStart(f"{error.filename or state.path}: {error.strerror}") from error
    except JournalTrouble as trouble:
        raise CannotStart(str(trouble)) from trouble


class Beside:
    """turns: of this worker. agreement: before anything is taken out of a mailbox.

    checkpoints, recovery: give this worker's, which are made later. recover: one more run of it.
    """

    def __init__(
        self,
        place: Place,
        checkpoints: Callable[[], Checkpoints],
        recovery: Callable[[], Recovery],
        recover: Callable[[], object],
    ) -> None:
        self._place = place
        self._recover = recover
        self._soon: IDelayedCall | None = None
        colleagues, reactor = place.colleagues, place.reactor
        self._threads = Threads(reactor, ANSWERING, "colleagues")
        folder = place.state.folder("turns")
        self.turns = Turns(folder, colleagues.number, lambda name: recovery().is_left(name))
        self.agreement = Agreement(
            colleagues,
            checkpoints,
            recovery,
            self._threads.run,
            reactor.callFromThread,
            self._look_again,
        )

    def begin(self, recovery: Recovery) -> None:
        """Mailboxes into which we must look are ours from now on; before this worker is ready. Raises CannotStart."""
        try:
            self.turns.begin(recovery.names)
        except OSError as error:
            raise CannotStart(f"{error.filename or os.path.join(self._place.state.path, 'turns')}: {error}") from error

    def start(self) -> None:
        self._threads.start()

    def stop(self) -> None:
        """Before the event loop waits for threads."""
        if self._soon is not None and self._soon.active():
            self._soon.cancel()
        self.agreement.stop()

    def close(self) -> None:
        self._threads.stop()

    def _look_again(self) -> None:
        if self._soon is None or not self._soon.active():
            self._soon = self._place.reactor.callLater(AGAIN, self._recover)
