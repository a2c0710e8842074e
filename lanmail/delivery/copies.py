"""What each mailbox's copy of a message has before the content: made before the 250, so that a delivery repeated is the same octets.

And what of the sender's wishes for reports (RFC 3461) goes on to each of them.
"""

from __future__ import annotations

from collections.abc import Iterable

from lanmail.delivery.found import Destination
from lanmail.message import envelope_headers, from_line
from lanmail.spool.entries import Message, Recipient


def one_each(ways: Iterable[tuple[Destination, str, str]]) -> list[tuple[Destination, str, str]]:
    """One for each mailbox, however many recipients led to it: the first of them is named in it.

    But where a later one wants more reports than it (NEVER is the least, SUCCESS the most), that one is: what was asked for is owed,
    and nobody is told of a recipient for whom NEVER was said.
    ways: destinations, each with the NOTIFY and ORCPT of the recipient that led there; they come back as they go on.
    """
    chosen: dict[str, tuple[Destination, str, str]] = {}
    promised: set[tuple[str, str]] = set()  # recipients of whose success a mailbox will tell already
    for to, notify, orcpt in ways:
        notify = _passed_on(to, notify, success=to.original.key not in promised)
        rival = chosen.get(to.user.name)
        if rival is None or _wanted(notify) > _wanted(rival[1]):
            chosen[to.user.name] = (to, notify, orcpt)
            if "SUCCESS" in notify:
                promised.add(to.original.key)
    return list(chosen.values())


def copy_of(message: Message, to: Destination, received: bytes, *, notify: str = "", orcpt: str = "") -> Recipient:
    """The copy for one mailbox. received: our Received header, with LF line ends."""
    # The null sender stays null whatever a list says, or a report that strays into one would be answered by a report.
    sender = message.sender if to.sender is None or message.sender.is_null else to.sender
    head = from_line(sender, message.arrived) + envelope_headers(sender, to.original, to.delivered_to) + received
    return Recipient(to.user, head, sender, to.original, to.delivered_to, to.rule, notify, orcpt, expanded=to.expanded)


def _wanted(notify: str) -> int:
    return 0 if notify == "NEVER" else 1 + ("SUCCESS" in notify)


def _passed_on(to: Destination, notify: str, *, success: bool) -> str:
    """What becomes of NOTIFY on the way to one mailbox (RFC 3461, 5.2.7). success: this one may tell of it.

    Behind an alias of several members one success is told of, that the message went to all of them; of each the failure. Behind a
    list with an owner it is the owner who hears of failures, whatever the sender said, and the sender of nothing but the success.
    """
    if not notify:
        return ""
    wanted = {word for word in notify.split(",") if word}
    if not success and (to.expanded or to.sender is not None):
        wanted.discard("SUCCESS")
    if to.sender is not None:
        return "SUCCESS,FAILURE,DELAY" if "SUCCESS" in wanted else ""
    if notify and not wanted:
        return "NEVER"  # an empty NOTIFY would mean what a sender gets who said nothing
    return ",".join(word for word in ("NEVER", "SUCCESS", "FAILURE", "DELAY") if word in wanted)
