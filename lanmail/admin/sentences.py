"""One message's story, and a refusal, as sentences. Text from outside stands in them as it came: whoever prints a line escapes it."""

from __future__ import annotations

import pwd
import re
import time
from collections.abc import Iterator, Sequence
from itertools import groupby

from lanmail.spool.history_events import Event
from lanmail.spool.stories import Refusal, Story

_CLIENT = re.compile(r"[^\[\]]*\[(.+)\]\Z")  # unknown[192.168.1.5]
_STATUS = re.compile(r"(\d{3} \d\.\d{1,3}\.\d{1,3}) (.*)\Z", re.DOTALL)
_ADDRESS = re.compile(r"<[^<>]*>: (?:Recipient address rejected: )?")
_REPORTS = {
    "failed": "that it failed",
    "delayed": "that it is late",
    "delivered": "that it was delivered",
    "expanded": "that it was passed to a list",
    "relayed": "that it was passed on",
}
_NAMED = 3  # so many recipients are named in one line


def moment(at: float, now: float) -> str:
    """Local time: ``10:31:02``, with the date before it where it is not today's."""
    then = time.localtime(at)
    clock = time.strftime("%H:%M:%S", then)
    return clock if then[:3] == time.localtime(now)[:3] else f"{time.strftime('%Y-%m-%d', then)} {clock}"


def size(octets: float) -> str:
    """``1.2 KB``, of a thousand octets."""
    for unit in ("octets", "KB", "MB"):
        if octets < 1000 or unit == "MB":
            break
        octets /= 1000
    return f"{octets:.0f} {unit}" if unit == "octets" or octets >= 100 else f"{octets:.1f} {unit}"


def span(seconds: float) -> str:
    """``20 s``, ``5 min``, ``3 h``, ``2 days``."""
    for length, unit in ((172800, "days"), (7200, "h"), (120, "min")):
        if seconds >= length:
            return f"{seconds / {'days': 86400, 'h': 3600, 'min': 60}[unit]:.0f} {unit}"
    return f"{seconds:.0f} s"


def reason(status: str) -> str:
    """A status as one says it: ``User unknown in local recipient table (550 5.1.1)``."""
    match = _STATUS.match(status)
    if match is None:
        return status
    return f"{_ADDRESS.sub('', match[2], count=1)} ({match[1]})"


def client(text: str) -> str:
    """A client's address, out of what the log calls it."""
    match = _CLIENT.match(text)
    return match[1] if match else text


def paragraph(story: Story, refused_too: Sequence[Refusal], now: float) -> Iterator[str]:
    """A heading, and a line for each thing that happened.

    refused_too: what was refused in the same transaction. now: seconds since the epoch; what is of today has no date.
    """
    yield heading(story)
    for refusal in refused_too:  # first: the others of the transaction came in after them
        what = refusal.recipient or "the message"
        yield f"  {moment(refusal.last, now)}  {what} {_was_refused(refusal)}: {reason(refusal.status)}"
    for at, line in _Telling(story).lines():
        yield f"  {moment(at, now)}  {line}"


def heading(story: Story) -> str:
    """``222CF6745D  from julien@iscb-corporation.com, 1.2 KB, <id>``."""
    received = next((event for event in story.events if event.kind == "received"), None)
    if received is None:
        ids = [event.text("message_id") for event in story.events]
        known = next((f" {id}" for id in ids if id), "")
        if not story.queue_id:
            return f"a letter that did not come in here{',' if known else ''}{known}"
        return f"{story.queue_id}  how it came in is not kept (any more)"
    octets = received.number("size")
    parts = [
        f"from {received.text('sender') or '<> (a report)'}",
        "" if octets is None else size(octets),
        received.text("message_id"),
    ]
    return f"{story.queue_id}  {', '.join(part for part in parts if part)}"


class _Telling:
    """The lines of one story; what a later one says depends on what was said before."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self._fetched: set[tuple[str, str]] = set()  # by whom, from where

    def lines(self) -> Iterator[tuple[float, str]]:
        # The recipients of one message are told together, and said together.
        for is_recipient, events in groupby(self._story.events, key=lambda event: event.kind == "recipient"):
            if is_recipient:
                yield from _became(list(events))
                continue
            for event in events:
                yield event.at, self._line(event)

    def _line(self, event: Event) -> str:
        user, status = event.text("user"), event.text("status")
        match event.kind:
            case "received":
                return self._received(event)
            case "discarded":
                return f"{event.text('original')} was thrown away, as its alias says (/dev/null)"
            case "delivered":
                delay = event.number("delay") or 0.0
                return f"delivered to the mailbox of {user}" + (f", after {span(delay)}" if delay >= 10 else "")
            case "deferred":
                wait = event.number("wait")
                again = "" if wait is None else f"; the next try is in {span(wait)}"
                return f"not delivered to {_who(event)} yet: {reason(status)}{again}"
            case "failed":
                return f"given up for {_who(event)}: {reason(status)}"
            case "reported":
                report = event.text("report")
                what = _REPORTS.get(event.text("what"), event.text("what"))
                return f"{event.text('to') or 'the sender'} was told {what}" + (f" (report {report})" if report else "")
            case "held" | "released" | "requeued" | "deleted":
                done = {"held": "put on hold", "released": "released", "requeued": "queued anew"}
                return f"{done.get(event.kind, 'deleted from the queue')} by {_account(event.number('by'))}"
            case "fetched":
                self._fetched.add((user, event.text("client")))
                return f"fetched by {user}{_from(event)} with POP3"
            case "expunged":
                if (user, event.text("client")) in self._fetched:
                    return f"deleted by {user} there"
                unread = "" if user in {name for name, _ in self._fetched} else ", without having been fetched"
                return f"deleted by {user}{_from(event)} with POP3{unread}"
            case "duplicate":
                return f"delivered to the mailbox of {user} again after a power failure: it may be there twice"
        return event.kind

    def _received(self, event: Event) -> str:
        # Who was asked for, in the order of asking; each once, however many mailboxes it became.
        asked = dict.fromkeys(
            event.text("original") for event in self._story.events if event.kind in ("recipient", "discarded")
        )
        to = f" for {_some(list(asked))}" if asked else ""
        where = client(event.text("client"))
        if where in ("", "local"):
            return f"written by lanmail itself{to}"
        helo, login, tls = event.text("helo"), event.text("login"), event.text("tls")
        how = [f"received from {where}"]
        how += [f"({helo})"] if helo else []
        how += [f"by {event.text('protocol') or 'SMTP'}"]
        how += [f"over {tls}"] if tls else []
        how += [f"from {login}, who was logged in,"] if login else []
        return " ".join(how).rstrip("," if not to else "") + to


def _became(events: Sequence[Event]) -> Iterator[tuple[float, str]]:
    """What aliases and the like made of each address that was asked for; nothing of one that was a mailbox's own."""
    by_way: dict[tuple[str, str], list[Event]] = {}
    for event in events:
        if event.text("rule"):
            by_way.setdefault((event.text("original"), event.text("rule")), []).append(event)
    for (original, rule), members in by_way.items():
        yield members[0].at, f"{original} became {_some([event.text('user') for event in members])} ({rule})"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names) if more <= 1 else f"{', '.join(names[:_NAMED])} and {more} more"


def _who(event: Event) -> str:
    return event.text("recipient") or event.text("user")


def _from(event: Event) -> str:
    where = event.text("client")
    return f" from {where}" if where else ""


def _account(uid: float | None) -> str:
    if uid is None:
        return "somebody"
    try:
        return pwd.getpwuid(int(uid)).pw_name
    except (KeyError, OverflowError):
        return f"uid {uid:.0f}"


def _was_refused(refusal: Refusal) -> str:
    return "was put off" if refusal.status.startswith("4") else "was refused"


def refused(refusal: Refusal, why: str, now: float) -> str:
    """What was not taken, from whom, and why; ``why`` is ``reason``'s, or better."""
    often = f", {refusal.count} times since {moment(refusal.first, now)}" if refusal.count > 1 else ""
    what = refusal.recipient or "mail"
    helo = f" ({refusal.helo})" if refusal.helo else ""
    sender = refusal.sender or "<>"
    return f"{moment(refusal.last, now)}  {what} {_was_refused(refusal)}: {why}. From {sender} at {client(refusal.client)}{helo}{often}"
