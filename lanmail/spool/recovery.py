"""What was begun and not seen to end: where it stands is found out, in each mailbox before it is next used.

After a crash these are all rows of the journal with an intent; while we run, the few of a round whose lock another program broke, or
whose append could neither be finished nor undone. A message that stands whole is done. Of one that is torn our own octets are taken out,
and it waits again, as does one that is not there.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence

from lanmail.interfaces import Report, Tell, User
from lanmail.mailbox.disk import SYSTEM
from lanmail.mailbox.store import LockedMailbox, MailboxBusy, MailboxFailure, MailboxFile
from lanmail.spool.checkpoint import Checkpoints, write_again
from lanmail.spool.journal import Journal, Standing
from lanmail.spool.torn import Piece, separations, to_take_out
from lanmail.spool.whereabouts import Whereabouts
from lanmail.status import TemporaryFailure


class _Left:
    """What is to be looked for in one user's mailbox.

    all: every row with an intent: they are of before we started. numbers: rows of ours; their marks, if they have one, say nothing.
    """

    def __init__(self, *, all: bool) -> None:
        self.all = all
        self.numbers: set[int] = set()
        # One at a time in one mailbox: that is the mailbox's lock's to see to, but there may be no mailbox, or two when one was replaced.
        self.mutex = threading.Lock()


class Recovery:
    """``mend`` goes into every MailboxFile; ``run`` is called at start, in a thread, and now and then while there is something ``left``.

    Made before anything is delivered. Mailboxes may be used while ``run`` is at work, since ``mend`` comes before every use.

    mailbox_of: the MailboxFile of a user, made with this ``mend``. boot: the id of this start of the system; empty where it cannot be
    known. report: a line for each message that was found or may be doubled, and one for each ``run`` that did something.
    """

    def __init__(
        self,
        journal: Journal,
        mailbox_of: Callable[[User], MailboxFile],
        checkpoints: Checkpoints,
        report: Report,
        tell: Tell,
        *,
        boot: str,
    ) -> None:
        """Raises TemporaryFailure where the journal cannot be read."""
        self._journal = journal
        self._mailbox_of = mailbox_of
        self._checkpoints = checkpoints
        self._report = report
        self._tell = tell
        self._boot = boot
        self._left = {name: _Left(all=True) for name in journal.standing_users()}
        self._guard = threading.Lock()  # of what changes in _left, and of the counts
        self._counts: Counter[str] = Counter()
        self._said_later = 0
        self.waits_again: Callable[[], None] = lambda: None
        """Called, from whatever thread, when something waits again that the queue does not know of: it should look."""
        self._stopped = False
        checkpoints.doubt = self.postpone

    @property
    def left(self) -> int:
        """In how many mailboxes something is still to be looked for: each when it is next used, or by ``run``."""
        return len(self._left)

    @property
    def names(self) -> list[str]:
        """Whose mailboxes those are."""
        return sorted(self._left)

    def is_left(self, name: str) -> bool:
        """Whether something is still to be looked for in that user's mailbox."""
        return name in self._left

    def run(self) -> None:
        """Look for everything that is left. Blocks. Raises TemporaryFailure where the journal does not work.

        A mailbox that another program holds now is left for its next use, or the next ``run``. Interrupted, it is simply run again, by
        the next process.
        """
        for name in self.names:
            if self._stopped:
                break
            self._visit(name)
            if self._checkpoints.crowded:
                self._checkpoints.run()
        with self._guard:
            counts, self._counts = self._counts, Counter()
        later = len(self._left)
        if counts or later != self._said_later:
            self._said_later = later
            self._report(
                "recovery: of {rows} deliveries whose end was not known, in {mailboxes} mailboxes, {done} were in the mailbox,"
                " {torn} were torn and taken out, {missing} were not there; mailboxes to be looked into later: {left}",
                rows=counts["done"] + counts["torn"] + counts["missing"],
                mailboxes=counts["mailboxes"],
                done=counts["done"],
                torn=counts["torn"],
                missing=counts["missing"],
                left=later,
            )

    def stop(self) -> None:
        """``run`` ends with the mailbox that it is at."""
        self._stopped = True

    def mend(self, mailbox: LockedMailbox) -> None:
        """Put this locked mailbox right, if there is anything to it. Raises MailboxFailure, reported: then it must not be used yet."""
        left = self._left.get(mailbox.owner.name)
        if left is None:  # nearly always
            return
        with left.mutex:
            if self._left.get(mailbox.owner.name) is not left:
                return
            try:
                self._put_right(mailbox, left)
            except MailboxBusy:
                raise
            except TemporaryFailure as trouble:
                reason = getattr(trouble, "detail", trouble)
                detail = f"{mailbox.path} is not used until it is known what an interruption left in it: {reason}"
                self._report("warning: {detail}", detail=detail)
                raise MailboxFailure(detail, trouble.status) from trouble

    def postpone(self, name: str, numbers: Collection[int]) -> None:
        """Whether these rows of that user's, which have an intent, stand in the mailbox is not known: find out before its next use."""
        with self._guard:
            self._left.setdefault(name, _Left(all=False)).numbers.update(numbers)

    # one mailbox

    def _put_right(self, mailbox: LockedMailbox, left: _Left) -> None:
        name = mailbox.owner.name
        doubted = frozenset(left.numbers)
        places = Whereabouts(mailbox, lambda: self._rows(name, left.all, doubted), boot=self._boot, doubted=doubted)
        standing: list[int] = []
        unmarked: list[tuple[int, str, str]] = []
        torn: list[Piece] = []
        again: list[int] = []
        missing: list[str] = []  # queue ids
        begins = mailbox.length()
        for spot in places.spots():
            number, queue_id = spot.row.recipient.number, spot.row.message.queue_id
            if spot.row.intent.boot == self._boot and spot.row.intent.inode == mailbox.inode:
                begins = min(begins, spot.row.intent.offset)
            if spot.found:
                standing.append(number)
                if not spot.row.marked:
                    unmarked.append((number, queue_id, str(spot.row.recipient.delivered_to)))
                continue
            again.append(number)
            if spot.piece is not None:
                torn.append(spot.piece)
            elif not spot.unwritten:
                missing.append(queue_id)
        if unmarked:
            # So that a kill from here on does not let it be looked for again, when somebody may have taken it out.
            self._journal.mark([number for number, _, _ in unmarked]).result()
        if standing:
            if left.all:
                # A process that is gone may have heard that a sync failed. The kernel shows what it then dropped as if it were on the
                # disk, and another sync would not write it.
                write_again(mailbox, begins, mailbox.length())
            self._checkpoints.note(mailbox, standing)
        if torn:
            _put_back_separations(mailbox, torn)
            # Which settles first what is noted: what stands behind a torn piece does not lie where its intent says afterwards.
            mailbox.take_out(to_take_out(torn, mailbox.length()))
        if again:
            self._journal.unbegin(again).result()
        self._done(name, left, doubted)
        self._say(name, unmarked, missing)
        self._count(done=len(standing), torn=len(torn), missing=len(again) - len(torn))
        if again:
            self.waits_again()

    def _rows(self, name: str, all_of_them: bool, numbers: Collection[int]) -> Iterator[Standing]:
        for row in self._journal.standing(name):
            if all_of_them or row.recipient.number in numbers:
                yield row

    def _done(self, name: str, left: _Left, numbers: Collection[int]) -> None:
        with self._guard:
            left.all = False
            left.numbers.difference_update(numbers)
            if not left.numbers and self._left.get(name) is left:  # none was added meanwhile
                del self._left[name]

    def _say(self, name: str, found: Collection[tuple[int, str, str]], missing: Collection[str]) -> None:
        for _, queue_id, address in found:
            self._report(
                "{id}: to=<{address}>, relay=local, dsn=2.0.0, status=sent (found in the mailbox)",
                id=queue_id,
                address=address,
            )
            self._tell("delivered", queue_id, user=name, recipient=address)
        for queue_id in missing:
            self._report(
                "warning: {id}: not found in the mailbox of {user}, and delivered again: a possible duplicate",
                id=queue_id,
                user=name,
            )
            self._tell("duplicate", queue_id, user=name)

    def _count(self, **counts: int) -> None:
        with self._guard:
            self._counts.update({"mailboxes": 1, **counts})

    # at start

    def _visit(self, name: str) -> None:
        left = self._left.get(name)
        if left is None:
            return
        doubted = frozenset(left.numbers)
        row = next(iter(self._journal.standing(name)), None)
        if row is None:
            # The queue forgot it in between, or whoever uses the mailbox is just putting it right, and says so itself.
            with left.mutex:
                if self._left.get(name) is left:
                    self._done(name, left, doubted)
            return
        mailbox = self._mailbox_of(row.recipient.user)
        try:
            mailbox.lock(create=False).release()  # which mends it
        except FileNotFoundError:
            self._without_mailbox(name, left, mailbox.path)
        except MailboxFailure:
            pass  # it was reported, or another program has it just now

    def _without_mailbox(self, name: str, left: _Left, path: str) -> None:
        with left.mutex:
            # Whoever makes one now waits in ``mend`` for us.
            if self._left.get(name) is not left or os.path.lexists(path):
                return
            try:
                folder = os.stat(os.path.dirname(path)).st_dev
            except OSError:
                return
            doubted = frozenset(left.numbers)
            removed: list[int] = []
            missing: list[tuple[int, str]] = []
            for row in self._rows(name, left.all, doubted):
                same_boot = self._boot != "" and row.intent.boot == self._boot
                if same_boot and row.intent.device != folder:
                    # The folder is there and its disk is not: it is mounted later than we were started.
                    return
                number = row.recipient.number
                if same_boot and row.marked and number not in doubted:
                    removed.append(number)
                else:
                    missing.append((number, row.message.queue_id))
            if removed:
                self._checkpoints.forget(removed)
            if missing:
                self._journal.unbegin([number for number, _ in missing]).result()
            self._done(name, left, doubted)
        self._say(name, (), [queue_id for _, queue_id in missing])
        self._count(done=len(removed), missing=len(missing))
        if missing:
            self.waits_again()


def _put_back_separations(mailbox: LockedMailbox, torn: Sequence[Piece]) -> None:
    """Where they were lost and something stands behind: without an empty line before it, it would belong to the message before.

    On stable storage before anything is taken out, since an expunge that is finished later looks whether the file is still the same.
    Raises MailboxFailure.
    """
    lost = False
    try:
        for start, end in separations(torn, mailbox.length()):
            line_ends = b"\n" * (end - start)
            if SYSTEM.read(mailbox.fd, end - start, start) != line_ends:
                SYSTEM.write(mailbox.fd, line_ends, start)
                lost = True
    except OSError as error:
        raise MailboxFailure.of(error, f"cannot write to {mailbox.path}") from error
    if lost:
        mailbox.sync()
