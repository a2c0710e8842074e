"""What the log is told of one SMTP connection, in Postfix's words, so that what reads Postfix's logs reads ours."""

from __future__ import annotations

from lanmail.address import NULL_SENDER, Address
from lanmail.interfaces import Greeting, Report
from lanmail.smtp.tally import Tally
from lanmail.status import Status


class Story:
    """client: who it is, as Postfix writes it: ``unknown[192.168.1.5]``. report: takes the lines."""

    __slots__ = (
        "_client",
        "_report",
        "tally",
    )

    def __init__(self, client: str, report: Report) -> None:
        self._client = client
        self._report = report
        self.tally = Tally()

    def connected(self) -> None:
        self._report("connect from {client}", client=self._client)

    def lost(self, where: str) -> None:
        self._report("lost connection after {where} from {client}", where=where, client=self._client)

    def timed_out(self, where: str) -> None:
        self._report("timeout after {where} from {client}", where=where, client=self._client)

    def too_many_errors(self, where: str) -> None:
        self._report("too many errors after {where} from {client}", where=where, client=self._client)

    def disconnected(self) -> None:
        self._report("disconnect from {client} {tally}", client=self._client, tally=str(self.tally))

    def bad_address(self, verb: str, argument: bytes) -> None:
        self._report(
            "warning: Illegal address syntax from {client} in {verb} command: {argument}",
            client=self._client,
            verb=verb,
            argument=_quoted(argument[:200]),
        )

    def not_smtp(self, line: bytes) -> None:
        self._report("warning: non-SMTP command from {client}: {text}", client=self._client, text=_quoted(line[:100]))

    def login_failed(self, mechanism: str, username: bytes, status: Status) -> None:
        self._report(
            "warning: {client}: SASL {mechanism} authentication failed: {status}, sasl_username={username}",
            client=self._client,
            mechanism=mechanism,
            status=status.text,
            username=_quoted(username[:100]),
        )

    def refused(
        self, verb: str, status: Status, sender: Address | None, recipient: Address | None, greeting: Greeting | None
    ) -> None:
        """The line that an administrator looks for when somebody's mail was not taken."""
        self._report(
            "NOQUEUE: reject: {verb} from {client}: {status}; from=<{sender}>{to} proto={proto}{helo}",
            verb=verb,
            client=self._client,
            status=str(status),
            sender=str(sender or NULL_SENDER),
            to="" if recipient is None else f" to=<{recipient}>",
            proto="ESMTP" if greeting and greeting.extended else "SMTP",
            helo=f" helo=<{greeting.name}>" if greeting and greeting.name else "",
        )


def _quoted(octets: bytes) -> str:
    return octets.decode("utf-8", "backslashreplace")
