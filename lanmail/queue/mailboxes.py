"""What waits in memory, mailbox by mailbox, and whose turn it is. No Twisted, no disk: only order and bounds.

All of it is in the journal too, and may be forgotten at any time: where there is no room, a mailbox only remembers that the journal
has more for it (``backlog``), and that is read when its turn comes. So memory grows with the mailboxes, not with the mail.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from enum import Enum

from lanmail.interfaces import User
from lanmail.queue.mail import Copy, Mail
from lanmail.spool.entries import Recipient

# Of one mailbox in memory. A burst fits; of a flood for one user the journal keeps the rest.
COPIES_HERE = 100
# Octets, or one message more, of a mailbox that waits for another program's lock.
OCTETS_PAUSED = 64 * 1024
# Octets of all together, beyond which new mail is not kept in memory: a thousand messages of 32 KiB.
OCTETS_HERE = 32 * 1024 * 1024
# What a copy costs besides its text: a few objects.
_OVERHEAD = 1024

# One round: each mailbox in it costs three descriptors, and whoever comes next waits until all of it is done.
MAILBOXES_IN_ROUND = 20
COPIES_IN_ROUND = 100
COPIES_OF_ONE_IN_ROUND = 50
OCTETS_IN_ROUND = 1024 * 1024
"""A message that is larger goes in a round of its own."""

# Seconds. What is in memory is due as well, and so is what was committed a moment ago: only where the journal has something older than
# that for a mailbox that is being served anyhow, it has something that we do not know of.
_UNKNOWN_AFTER = 5.0


class State(Enum):
    """What a mailbox does."""

    IDLE = "nothing, and there is nothing to do that we know of"
    READY = "has copies here, and waits for a round"
    WANTING = "waits to be read from the journal"
    LOADING = "is being read"
    AT_WORK = "is in a round, or what became of that is being written down"
    PAUSED = "is locked by another program, and tried again soon"


class Mailbox:
    """One user's, while there is something to do for it.

    user: None until somebody looked. backlog: the journal may have more that is due; then nothing new is kept here, which keeps the order
    and reads nothing twice. busy_since: when another program was first found to have it locked, in seconds of the reactor's clock;
    None again once it was delivered to. pause: the last that it was given, in seconds.
    """

    __slots__ = ("backlog", "busy_since", "copies", "name", "octets", "pause", "state", "user")

    def __init__(self, name: str) -> None:
        self.name = name
        self.user: User | None = None
        self.copies: deque[Copy] = deque()
        self.octets = 0  # of the copies here, those in a round included
        self.state = State.IDLE
        self.backlog = False
        self.busy_since: float | None = None
        self.pause = 0.0


Round = list[tuple[Mailbox, list[Copy]]]


class Mailboxes:
    """All mailboxes with something to do. They take turns, and each is in one round at a time.

    room: octets that copies may take in memory (``octets`` does): new mail beyond it stays in the journal alone. What is read from there
    comes in portions that are bounded elsewhere, and only while there is room.
    """

    def __init__(self, room: int = OCTETS_HERE) -> None:
        self._room = room
        self._by_name: dict[str, Mailbox] = {}
        self._ready: deque[Mailbox] = deque()
        self._large: deque[Mailbox] = deque()  # ready, and its next message is a large one
        self._wanting: deque[Mailbox] = deque()
        self._large_next = False
        self.octets = 0
        self.arriving = False  # some of the recipients of a message were taken, others follow

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Mailbox]:
        return iter(list(self._by_name.values()))

    # what comes

    def take(self, mail: Mail, recipients: Sequence[Recipient], numbers: Sequence[int], since: float) -> None:
        """A message that was just admitted. numbers: of the recipients' rows, in their order."""
        for recipient, number in zip(recipients, numbers, strict=True):
            mailbox = self._of(recipient.user.name)
            copy = Copy(mail, recipient, number, since)
            if (
                mailbox.backlog
                or mailbox.state is State.LOADING
                or len(mailbox.copies) >= COPIES_HERE
                or self.octets + self._cost(copy) > self._room
                or (mailbox.state is State.PAUSED and self._is_in_the_way(mailbox))
            ):
                mailbox.backlog = True
                mail.left = None
            else:
                mailbox.user = recipient.user
                self._add(mailbox, copy)
            self._idle_no_longer(mailbox)

    def notice(self, name: str, due: float, now: float) -> bool:
        """The journal has something for this user, due since then. False: that may be what we have here already; ask again later."""
        mailbox = self._of(name)
        if mailbox.state not in (State.IDLE, State.WANTING) and now - due < _UNKNOWN_AFTER:
            return False
        mailbox.backlog = True
        self._idle_no_longer(mailbox)
        return True

    # what is to be done

    @property
    def has_room(self) -> bool:
        """So much that a portion may be read from the journal; and those that are ready are not enough for two rounds.

        Not while a message arrives whose other recipients the journal would have.
        """
        return not self.arriving and self.octets < self._room and len(self._ready) < 2 * MAILBOXES_IN_ROUND

    def next_round(self, *, large: bool, small: bool = True) -> Round:
        """For the next thread: some of what is ready, in turn, now AT_WORK. Empty where nothing is.

        large: whether a large message may be taken; then it is alone in its round. small: whether others may.
        """
        if self._large and large and (self._large_next or not self._ready or not small):
            self._large_next = False
            mailbox = self._large.popleft()
            mailbox.state = State.AT_WORK
            return [(mailbox, [mailbox.copies.popleft()])]
        taken: Round = []
        if not small:
            return taken
        self._large_next = True
        copies = octets = 0
        while self._ready and len(taken) < MAILBOXES_IN_ROUND and copies < COPIES_IN_ROUND:
            mailbox = self._ready[0]
            most = min(COPIES_OF_ONE_IN_ROUND, COPIES_IN_ROUND - copies)
            some: list[Copy] = []
            while mailbox.copies and len(some) < most:
                size = mailbox.copies[0].mail.content.size
                if octets + size > OCTETS_IN_ROUND:
                    break
                octets += size
                some.append(mailbox.copies.popleft())
            if not some:  # no room in this round: it is the first of the next
                break
            self._ready.popleft()
            mailbox.state = State.AT_WORK
            copies += len(some)
            taken.append((mailbox, some))
        return taken

    def next_wanting(self, limit: int) -> list[Mailbox]:
        """Those whose turn it is to be read from the journal, now LOADING. What is committed from here on makes ``backlog`` again."""
        wanting = [self._wanting.popleft() for _ in range(min(limit, len(self._wanting)))]
        for mailbox in wanting:
            mailbox.state = State.LOADING
            mailbox.backlog = False
        return wanting

    # what became of it

    def loaded(self, mailbox: Mailbox, copies: Sequence[Copy]) -> None:
        """This was read. ``rest`` follows."""
        # There may be more. Only when nothing came back is it certain that all is here.
        mailbox.backlog = mailbox.backlog or bool(copies)
        for copy in copies:
            self._add(mailbox, copy)

    def put_back(self, mailbox: Mailbox, copies: Sequence[Copy]) -> None:
        """These, which a round has taken, are still to be done, before all others. ``rest`` or ``paused`` follows."""
        mailbox.copies.extendleft(reversed(copies))

    def done_with(self, mailbox: Mailbox, copy: Copy) -> None:
        """This, which a round has taken, is not in memory any more."""
        cost = _OVERHEAD + len(copy.recipient.head)
        copy.mail.here -= 1
        if not copy.mail.here:
            cost += len(copy.mail.content.memory)
        self.octets -= cost
        mailbox.octets -= _OVERHEAD + len(copy.recipient.head) + len(copy.mail.content.memory)

    def emptied(self, mailbox: Mailbox) -> list[Copy]:
        """All its copies here, taken as by a round."""
        copies = list(mailbox.copies)
        mailbox.copies.clear()
        return copies

    def forget_copies(self, mailbox: Mailbox) -> None:
        """They are read from the journal again when they are wanted."""
        for copy in self.emptied(mailbox):
            copy.mail.left = None
            self.done_with(mailbox, copy)
            mailbox.backlog = True

    def paused(self, mailbox: Mailbox) -> None:
        """Another program has it. Only a little of its mail stays here meanwhile. ``rest`` follows."""
        mailbox.state = State.PAUSED
        if self._is_in_the_way(mailbox):
            self.forget_copies(mailbox)

    def rest(self, mailbox: Mailbox) -> None:
        """What it was doing is over: it goes to the end of the row that it belongs to now, or away."""
        mailbox.state = State.IDLE
        self._idle_no_longer(mailbox)
        if mailbox.state is State.IDLE and mailbox.busy_since is None:
            del self._by_name[mailbox.name]

    def tidy(self, busy_before: float) -> None:
        """Forget of those with nothing to do that they were locked, where that began before ``busy_before``."""
        for mailbox in self:
            if mailbox.state is State.IDLE and (mailbox.busy_since is None or mailbox.busy_since < busy_before):
                del self._by_name[mailbox.name]

    # within

    def _is_in_the_way(self, locked: Mailbox) -> bool:
        """Whether its mail is better left to the journal. Mailboxes that wait for a lock never have more than half of the room."""
        return locked.octets > OCTETS_PAUSED or self.octets > self._room // 2

    def _of(self, name: str) -> Mailbox:
        mailbox = self._by_name.get(name)
        if mailbox is None:
            mailbox = self._by_name[name] = Mailbox(name)
        return mailbox

    def _idle_no_longer(self, mailbox: Mailbox) -> None:
        if mailbox.state is not State.IDLE:
            return
        if mailbox.copies:
            mailbox.state = State.READY
            large = mailbox.copies[0].mail.content.size > OCTETS_IN_ROUND
            (self._large if large else self._ready).append(mailbox)
        elif mailbox.backlog:
            mailbox.state = State.WANTING
            self._wanting.append(mailbox)

    def _cost(self, copy: Copy) -> int:
        """Octets. A message's text is in memory once, however many copies of it are."""
        shared = 0 if copy.mail.here else len(copy.mail.content.memory)
        return _OVERHEAD + len(copy.recipient.head) + shared

    def _add(self, mailbox: Mailbox, copy: Copy) -> None:
        self.octets += self._cost(copy)
        mailbox.octets += _OVERHEAD + len(copy.recipient.head) + len(copy.mail.content.memory)
        copy.mail.here += 1
        mailbox.copies.append(copy)
