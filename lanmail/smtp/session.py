"""The server's side of one SMTP conversation (RFC 5321), without any I/O."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass

from lanmail.address import NULL_SENDER
from lanmail.interfaces import Greeting, Report
from lanmail.smtp import grammar, replies
from lanmail.smtp.events import Auth, Content, Data, EndOfMessage, Event, Hold, Mail, Recipient, Reset
from lanmail.smtp.tally import UNKNOWN, Tally
from lanmail.status import Status
from lanmail.wire import sasl
from lanmail.wire.conversation import Conversation, Turn
from lanmail.wire.dots import DotReader
from lanmail.wire.lines import TooLong

# A piece of a message: as much as one read of a socket gives. What memory one connection needs hangs on it.
CHUNK = 64 * 1024
# What is no mail client: a web client that somebody's page makes talk to us, the header of a message whose DATA was
# refused, the hello of TLS (Postfix: smtpd_forbidden_commands, and is_header in smtpd.c).
_NOT_SMTP = re.compile(r"(?i)(?:CONNECT|GET|POST)\Z|[^A-Z]|.*:")


@dataclass(frozen=True, slots=True)
class SmtpLimits:
    """What one client may do. The defaults are Postfix's, and so are the names, there with ``smtpd_`` before most of them.

    Sizes in octets, times in seconds; a message_size_limit of 0 is none.
    """

    message_size_limit: int = 10_240_000
    line_length_limit: int = 2048  # of a command; the lines of a message have none
    recipient_limit: int = 1000
    recipient_overshoot_limit: int = 1000  # recipients past the limit that are not yet counted as errors
    soft_error_limit: int = 10  # from so many errors on, every reply is held back for error_sleep_time
    hard_error_limit: int = 20
    error_sleep_time: float = 1.0
    junk_command_limit: int = 100  # of RSET, NOOP, VRFY, EHLO between messages; each further one is an error
    timeout: float = 300.0


@dataclass(slots=True)
class _Transaction:
    mail: Mail
    tried: int = 0
    taken: int = 0
    overshoot: int = 0  # recipients past the limit


class SmtpSession(Conversation[Event]):
    """One client, from greeting to goodbye. Answer each event with ``accept`` or ``refuse``.

    client: who it is in the log, as Postfix writes it: ``unknown[192.168.1.5]``.
    hostname: who we are (``myhostname``). banner: what follows ``220`` (``smtpd_banner``, expanded).
    report: takes the lines of the log. offer_auth: whether AUTH is announced and understood. refusal: said instead of
    the greeting, where the client cannot be served now.
    """

    def __init__(
        self,
        client: str,
        limits: SmtpLimits,
        hostname: str,
        banner: str,
        report: Report,
        *,
        offer_auth: bool = False,
        refusal: Status | None = None,
    ) -> None:
        super().__init__()
        self._client = client
        self._limits = limits
        self._hostname = hostname
        self._banner = banner
        self._report = report
        self._offer_auth = offer_auth
        self._refusal = refusal
        self.greeting: Greeting | None = None
        self.authenticated = False
        self._transaction: _Transaction | None = None
        self._asked: Event | None = None
        # While a message comes: its reader, its octets so far, and what will be said of it, where that is decided already.
        self._reader: DotReader | None = None
        self._octets = 0
        self._verdict: Status | None = None
        self._exchange: sasl.Exchange | None = None
        self._mechanism = ""
        self._held = b""
        self._after_reset: Status | bytes | None = None
        self._verb = "CONNECT"
        self._errors = 0
        self._junk = 0
        self._tally = Tally()
        self._verbs: dict[str, Callable[[bytes], Event | Turn]] = {
            "HELO": self._helo,
            "EHLO": self._ehlo,
            "AUTH": self._auth,
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "RSET": self._rset,
            "NOOP": self._noop,
            "VRFY": self._vrfy,
            "HELP": self._help,
            "QUIT": self._quit,
        }

    # answers

    def accept(self, queue_id: str = "") -> None:
        """What was asked for is done. ``queue_id`` is EndOfMessage's."""
        asked, self._asked = self._asked, None
        self._answered()
        match asked:
            case Mail():
                self._transaction = _Transaction(asked)
                self._done(replies.SENDER_OK)
            case Recipient():
                assert self._transaction is not None
                self._transaction.taken += 1
                self._done(replies.RECIPIENT_OK)
            case Data():
                self._reader, self._octets, self._verdict = DotReader(), 0, None
                self._say(replies.on_the_wire(replies.SEND_TEXT))
            case EndOfMessage():
                # Whoever brings mail is forgiven the rest (smtpd.c, common_post_message_handling).
                self._errors = self._junk = 0
                self._done(replies.queued(queue_id))
            case Reset():
                reply, self._after_reset = self._after_reset, None
                if reply is not None:
                    self._done(reply)
            case Auth():
                self.authenticated = True
                self._done(replies.AUTHENTICATED)
            case Hold():
                held, self._held = self._held, b""
                self._send(held)

    def refuse(self, status: Status) -> None:
        """What was asked for is not done, and why. A refused Content is told at the end of the message."""
        asked, self._asked = self._asked, None
        self._answered()
        match asked:
            case Content():
                self._verdict = status
            case Auth(mechanism):
                self._report(
                    "warning: {client}: SASL {mechanism} authentication failed: {status}",
                    client=self._client,
                    mechanism=mechanism,
                    status=status.text,
                )
                self._refused(status)
            case Reset() | Hold() | None:
                raise AssertionError(f"{asked} cannot be refused")
            case _:
                self._reject(status, asked)
                if isinstance(asked, Data):
                    self._transaction = None
                self._refused(status)

    def fail(self) -> None:
        if isinstance(self._asked, Reset | Hold):
            self.accept()
        else:
            self.refuse(replies.AUTH_LATER if isinstance(self._asked, Auth) else replies.BROKEN)

    # what the rim says

    @property
    def in_command(self) -> bool:
        return self._awaiting or self._reader is not None or bool(self._held)

    def greet(self) -> None:
        if self._refusal is not None:
            self._goodbye(self._refusal)
            return
        self._report("connect from {client}", client=self._client)
        self._send(f"220 {self._banner}\r\n".encode("ascii", "replace"))

    def time_out(self) -> None:
        self._report("timeout after {where} from {client}", where=self._where, client=self._client)
        self._goodbye(replies.timed_out(self._hostname))

    def shut_down(self) -> None:
        self._goodbye(replies.shutting_down(self._hostname))

    def lost(self) -> None:
        """The connection is gone, whoever ended it: the last line of the log."""
        if self._refusal is not None:
            return  # whoever refused it has told
        if not self.closing:
            self._report("lost connection after {where} from {client}", where=self._where, client=self._client)
        self._report("disconnect from {client} {tally}", client=self._client, tally=str(self._tally))

    @property
    def _where(self) -> str:
        return f"DATA ({self._octets} bytes)" if self._reader is not None else self._verb

    # understanding

    def _advance(self) -> Event | Turn:
        step = self._understand()
        self._asked = None if isinstance(step, Turn) else step
        return step

    def _understand(self) -> Event | Turn:
        if self._held:
            return Hold()
        if self._errors >= self._limits.hard_error_limit:
            self._report("too many errors after {where} from {client}", where=self._verb, client=self._client)
            return self._goodbye(replies.too_many_errors(self._hostname))
        if self._reader is not None:
            return self._read_text(self._reader)
        line = self._input.line(self._limits.line_length_limit if self._exchange is None else sasl.MAX_LINE)
        if line is None:
            return Turn.STARVED
        if self._exchange is not None:
            return self._continue_exchange(self._exchange, line)
        return self._command(line)

    def _command(self, line: bytes | TooLong) -> Event | Turn:
        if isinstance(line, TooLong):
            return self._unknown(replies.LINE_TOO_LONG)
        verb, argument = grammar.split_command(line)
        understand = self._verbs.get(verb)
        if understand is None:
            return self._not_a_command(verb, line)
        self._verb = verb
        self._tally.given(verb)
        if verb in ("HELO", "EHLO", "RSET", "NOOP", "VRFY"):
            self._junk += 1
            if self._junk > self._limits.junk_command_limit:
                self._errors += 1
        try:
            return understand(argument)
        except grammar.Malformed as malformed:
            if verb in ("MAIL", "RCPT"):
                self._report(
                    "warning: Illegal address syntax from {client} in {verb} command: {argument}",
                    client=self._client,
                    verb=verb,
                    argument=argument[:200].decode("utf-8", "backslashreplace"),
                )
            return self._refused(malformed.status)

    def _not_a_command(self, verb: str, line: bytes) -> Turn:
        if not verb:
            return self._unknown(replies.BAD_SYNTAX)
        if not _NOT_SMTP.match(verb):
            return self._unknown(replies.UNKNOWN_COMMAND)
        text = line[:100].decode("utf-8", "backslashreplace")
        self._report("warning: non-SMTP command from {client}: {text}", client=self._client, text=text)
        self._unknown(replies.NON_SMTP)
        return self._goodbye(None)

    def _unknown(self, status: Status) -> Turn:
        self._verb = UNKNOWN
        self._tally.given(UNKNOWN)
        return self._refused(status)

    # the verbs

    def _helo(self, argument: bytes) -> Event | Turn:
        self.greeting = Greeting(grammar.client_name(argument, "HELO"), extended=False)
        return self._begin_anew(f"250 {self._hostname}\r\n".encode())

    def _ehlo(self, argument: bytes) -> Event | Turn:
        self.greeting = Greeting(grammar.client_name(argument, "EHLO"), extended=True)
        size = self._limits.message_size_limit
        offers = [self._hostname, "PIPELINING", f"SIZE {size}" if size else "SIZE", "VRFY"]
        if self._offer_auth:
            offers.append("AUTH " + " ".join(sasl.MECHANISMS))
        offers += ["ENHANCEDSTATUSCODES", "8BITMIME", "SMTPUTF8"]
        lines = [f"250-{offer}\r\n" for offer in offers[:-1]] + [f"250 {offers[-1]}\r\n"]
        return self._begin_anew("".join(lines).encode())

    def _mail(self, argument: bytes) -> Event | Turn:
        if self.greeting is None:
            return self._refused(replies.GREET_FIRST)
        if self._transaction is not None:
            return self._refused(replies.NESTED_MAIL)
        mail = Mail(*grammar.mail(argument, offers_auth=self._offer_auth))
        limit = self._limits.message_size_limit
        if limit and (mail.parameters.size or 0) > limit:
            self._reject(replies.SIZE_ANNOUNCED, mail)
            return self._refused(replies.SIZE_ANNOUNCED)
        return mail

    def _rcpt(self, argument: bytes) -> Event | Turn:
        if self._transaction is None:
            return self._refused(replies.NEED_MAIL)
        self._transaction.tried += 1
        address = grammar.recipient(argument, smtputf8=self._transaction.mail.parameters.smtputf8)
        if self._transaction.taken >= self._limits.recipient_limit:
            return self._too_many_recipients(self._transaction, Recipient(address))
        return Recipient(address)

    def _too_many_recipients(self, transaction: _Transaction, recipient: Recipient) -> Turn:
        # RFC 5321, 4.5.3.1.10: the client sends the rest of its list in another transaction; that is no error of its.
        transaction.overshoot += 1
        if transaction.overshoot == 1:
            self._reject(replies.TOO_MANY_RECIPIENTS, recipient)
        if transaction.overshoot > self._limits.recipient_overshoot_limit:
            return self._refused(replies.TOO_MANY_RECIPIENTS)
        self._say(replies.on_the_wire(replies.TOO_MANY_RECIPIENTS))
        return Turn.ANSWERED

    def _data(self, argument: bytes) -> Event | Turn:
        if argument:
            return self._refused(grammar.syntax("DATA"))
        if self._transaction is None or not self._transaction.tried:
            return self._refused(replies.NEED_RCPT)
        if not self._transaction.taken:
            return self._refused(replies.NO_VALID_RECIPIENTS)
        return Data()

    def _rset(self, argument: bytes) -> Event | Turn:
        if argument:
            return self._refused(grammar.syntax("RSET"))
        return self._begin_anew(replies.OK)

    def _noop(self, argument: bytes) -> Turn:
        return self._done(replies.OK)

    def _vrfy(self, argument: bytes) -> Turn:
        return self._done(replies.VRFY) if argument else self._refused(grammar.syntax("VRFY address"))

    def _help(self, argument: bytes) -> Turn:
        return self._done(replies.HELP)

    def _quit(self, argument: bytes) -> Turn:
        if argument:
            return self._refused(grammar.syntax("QUIT"))
        self._tally.done("QUIT")
        return self._goodbye(replies.BYE)

    # the text of a message

    def _read_text(self, reader: DotReader) -> Event | Turn:
        if reader.rest is not None:
            self._input.push_back(reader.rest)
            return self._end_text()
        data = self._input.take(CHUNK)
        if not data:
            return Turn.STARVED
        chunk = reader.feed(data)
        self._octets += len(chunk)
        if self._verdict is not None or not chunk:
            return Turn.ANSWERED  # swallowed, or not yet certain
        if 0 < self._limits.message_size_limit < self._octets:
            # From here to its end the message is read and thrown away: a reply would be heard only there.
            self._verdict = replies.TOO_LARGE
            return Reset()
        return Content(chunk)

    def _end_text(self) -> Event | Turn:
        self._reader = None
        self._verb = "END-OF-MESSAGE"
        verdict = self._verdict
        if verdict is None:
            return EndOfMessage()
        self._reject(verdict, EndOfMessage())
        self._transaction = None
        return self._refused(verdict)

    # AUTH (RFC 4954)

    def _auth(self, argument: bytes) -> Event | Turn:
        if not self._offer_auth:
            return self._refused(replies.AUTH_NOT_OFFERED)
        if self.greeting is None or not self.greeting.extended:
            return self._refused(replies.GREET_FIRST)
        if self.authenticated:
            return self._refused(replies.AUTH_AGAIN)
        if self._transaction is not None:
            return self._refused(replies.AUTH_IN_MAIL)
        mechanism, _, initial = argument.partition(b" ")
        if not mechanism:
            return self._refused(grammar.syntax("AUTH mechanism"))
        try:
            exchange = sasl.Exchange(mechanism.decode("ascii", "replace"))
        except KeyError:
            return self._refused(replies.AUTH_UNKNOWN)
        self._mechanism = mechanism.decode().upper()
        return self._exchanged(exchange, lambda: exchange.begin(initial.strip(b" ") or None))

    def _continue_exchange(self, exchange: sasl.Exchange, line: bytes | TooLong) -> Event | Turn:
        self._exchange = None
        if isinstance(line, TooLong):
            return self._refused(replies.AUTH_LINE_TOO_LONG)
        if line == b"*":
            return self._refused(replies.AUTH_ABORTED)
        return self._exchanged(exchange, lambda: exchange.respond(line))

    def _exchanged(self, exchange: sasl.Exchange, step: Callable[[], sasl.Challenge | sasl.Claim]) -> Event | Turn:
        try:
            outcome = step()
        except sasl.SaslError as error:
            return self._refused(Status(501, "5.5.2", f"Error: {error}"))
        if isinstance(outcome, sasl.Claim):
            return Auth(self._mechanism, outcome.username, outcome.password)
        self._exchange = exchange
        self._say(b"334 " + base64.b64encode(outcome.text) + b"\r\n")
        return Turn.ANSWERED

    # speaking

    def _begin_anew(self, reply: Status | bytes) -> Event | Turn:
        """RSET, and EHLO which means it too (RFC 5321, 4.1.4)."""
        if self._transaction is None:
            return self._done(reply)
        self._transaction = None
        self._after_reset = reply
        return Reset()

    def _done(self, reply: Status | bytes) -> Turn:
        if self._verb == "END-OF-MESSAGE":
            self._transaction = None
            self._tally.done("DATA")
        else:
            self._tally.done(self._verb)
        self._say(reply if isinstance(reply, bytes) else replies.on_the_wire(reply))
        return Turn.ANSWERED

    def _refused(self, status: Status) -> Turn:
        utf8 = self._transaction is not None and self._transaction.mail.parameters.smtputf8
        if self._verb == "END-OF-MESSAGE":
            self._transaction = None
        self._errors += 1
        self._say(replies.on_the_wire(status, utf8=utf8))
        return Turn.ANSWERED

    def _say(self, reply: bytes) -> None:
        # Whoever makes one mistake after another waits for the answers, and with them for everything (Postfix's tarpit).
        if self._errors >= self._limits.soft_error_limit and self._limits.error_sleep_time > 0:
            self._held += reply
        else:
            self._send(reply)

    def _goodbye(self, status: Status | None) -> Turn:
        self._send(self._held)
        self._held = b""
        if status is not None:
            self._send(replies.on_the_wire(status))
        self._close()
        return Turn.ANSWERED

    def _reject(self, status: Status, asked: Event) -> None:
        """The line that an administrator looks for when somebody's mail was not taken."""
        mail = asked if isinstance(asked, Mail) else self._transaction and self._transaction.mail
        recipient = f" to=<{asked.address}>" if isinstance(asked, Recipient) else ""
        greeting = self.greeting or Greeting("", extended=False)
        self._report(
            "NOQUEUE: reject: {verb} from {client}: {status}; from=<{sender}>{to} proto={proto} helo=<{helo}>",
            verb=self._verb,
            client=self._client,
            status=str(status),
            sender=str(mail.sender if mail else NULL_SENDER),
            to=recipient,
            proto="ESMTP" if greeting.extended else "SMTP",
            helo=greeting.name,
        )
