"""When what could not be delivered is tried again, when its sender is told that it is late, and when it is given up.

Pure arithmetic on seconds of the queue's clock (queue/clock.py), with Postfix's parameters in Postfix's meaning (qmgr(8), qmgr_active.c).
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(slots=True)
class Schedule:
    """The parameters, in seconds.

    minimal, maximal: ``minimal_backoff_time``, ``maximal_backoff_time``. lifetime: ``maximal_queue_lifetime``; bounce_lifetime:
    ``bounce_queue_lifetime``, for mail from the null sender; 0 is one try. warning: ``delay_warning_time``; 0 is never.
    """

    minimal: float = 300.0
    maximal: float = 4000.0
    lifetime: float = 432_000.0
    bounce_lifetime: float = 432_000.0
    warning: float = 0.0

    def adopt(self, other: Schedule) -> None:
        """A reload: all who have this one go by the other's times from now on."""
        for each in fields(self):
            setattr(self, each.name, getattr(other, each.name))

    def next_due(self, now: float, since: float) -> float:
        """The time of the next try of what came ``since`` and has just failed."""
        return next_due(now, since, self.minimal, self.maximal)

    def expired(self, now: float, since: float, *, null_sender: bool) -> bool:
        """Whether what has just failed is given up. Nothing is given up untried: this is asked after a try, as in Postfix."""
        return expired(now, since, self.bounce_lifetime if null_sender else self.lifetime)

    def given_up(self, due: float, since: float, *, null_sender: bool) -> bool:
        """Whether what is to be tried again at ``due`` had expired when it was last tried.

        What waits for a try when its life ends still has that one, as in Postfix.
        """
        lifetime = self.bounce_lifetime if null_sender else self.lifetime
        return due >= self.next_due(since + lifetime, since)

    def late(self, now: float, since: float) -> bool:
        """Whether the sender is told now that it is late; that they are told once is kept elsewhere (Recipient.warned)."""
        return self.warning > 0 and age(now, since) >= self.warning


def age(now: float, since: float) -> float:
    """How long ago that was. Never less than nothing: after a crash the clock may go on a little behind where it was."""
    return max(0.0, now - since)


def next_due(now: float, since: float, minimal: float, maximal: float) -> float:
    """It waits as long as it has waited already, at most ``maximal``, at least ``minimal``, which wins where the two contradict."""
    return now + max(minimal, min(age(now, since), maximal))


def expired(now: float, since: float, lifetime: float) -> bool:
    """Whether it has been here for its whole lifetime."""
    return age(now, since) >= lifetime
