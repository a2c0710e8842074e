"""A client's talk with a session, without any transport."""

from __future__ import annotations

from collections.abc import Callable

from lanmail.smtp.events import Content, EndOfMessage, Event, Recipient
from lanmail.smtp.limits import SmtpLimits
from lanmail.smtp.session import SmtpSession
from lanmail.status import Status
from lanmail.wire.terms import Terms
from tests.smtp.fakes import BANNER, HOSTNAME, NOBODY

LIMITS = SmtpLimits(error_sleep_time=0)
BEGIN = b"EHLO client\r\nMAIL FROM:<julien@x>\r\nRCPT TO:<nel@x>\r\nDATA\r\n"


class Talk:
    """A session whose events are all accepted, except recipients other than nel and julien, and remembered."""

    def __init__(self, limits: SmtpLimits = LIMITS, *, offer_auth: bool = False) -> None:
        self.reports: list[str] = []
        self.session = SmtpSession(
            "unknown[192.168.1.5]", limits, HOSTNAME, BANNER, self._report, terms=Terms(login=offer_auth)
        )
        self.events: list[Event] = []
        self.decide: Callable[[Event], Status | None] = self._decide
        self._heard = b""

    def _report(self, line: str, /, **fields: object) -> None:
        self.reports.append(line.format(**fields))

    def _decide(self, event: Event) -> Status | None:
        known = not isinstance(event, Recipient) or event.address.local in ("nel", "julien")
        return None if known else NOBODY

    def hears(self, *pieces: bytes) -> list[str]:
        """The lines of the replies to what the client sends."""
        for piece in pieces:
            self.session.receive(piece)
            while (event := self.session.next_event()) is not None or self.session.congested:
                self._heard += self.session.output()
                if event is not None:
                    self._answer(event)
        self._heard += self.session.output()
        lines = self._heard.decode().split("\r\n")
        self._heard = lines.pop().encode()
        return lines

    def _answer(self, event: Event) -> None:
        last = self.events[-1] if self.events else None
        if isinstance(event, Content) and isinstance(last, Content):
            self.events[-1] = Content(last.chunk + event.chunk)
        else:
            self.events.append(event)
        if status := self.decide(event):
            self.session.refuse(status)
        else:
            self.session.accept("222CF6745D" if isinstance(event, EndOfMessage) else "")

    def codes(self, *pieces: bytes) -> list[str]:
        """Just the codes of what ``hears`` gives, the enhanced ones where there are."""
        return [" ".join(line.split(" ")[: 2 if line[4:5].isdigit() else 1]) for line in self.hears(*pieces)]

    @property
    def kinds(self) -> list[type]:
        return [type(event) for event in self.events]

    @property
    def text(self) -> bytes:
        return b"".join(event.chunk for event in self.events if isinstance(event, Content))
