"""The server's side of one SMTP conversation (RFC 5321), without any I/O."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass

from lanmail.interfaces import Greeting, Report
from lanmail.smtp import grammar, replies
from lanmail.smtp.events import Auth, Content, Data, EndOfMessage, Event, Hold, Mail, Recipient, Reset, StartTls
from lanmail.smtp.limits import SmtpLimits
from lanmail.smtp.story import Story
from lanmail.smtp.tally import UNKNOWN
from lanmail.smtp.text import Text
from lanmail.status import Status
from lanmail.wire import sasl
from lanmail.wire.conversation import Conversation, Turn
from lanmail.wire.lines import TooLong
from lanmail.wire.terms import Terms

_IN_CLEAR = Terms()
# What may be said where TLS must come first (Postfix: smtpd_cmd_flags, SMTPD_CMD_FLAG_PRE_TLS).
_BEFORE_TLS = frozenset(("EHLO", "HELO", "STARTTLS", "NOOP", "QUIT", "HELP"))


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
    report: takes the lines of the log. terms: what the client may do. refusal: said instead of
    the greeting, where the client cannot be served now. refused: is told every reply that says no: client, verb, status.
    """

    __slots__ = (
        "_after_reset",
        "_asked",
        "_banner",
        "_client",
        "_errors",
        "_exchange",
        "_failed_logins",
        "_held",
        "_hostname",
        "_junk",
        "_limits",
        "_mechanism",
        "_refusal",
        "_secret",
        "_secure",
        "_story",
        "_tell_refused",
        "_terms",
        "_text",
        "_transaction",
        "_verb",
        "authenticated",
        "greeting",
    )

    def __init__(
        self,
        client: str,
        limits: SmtpLimits,
        hostname: str,
        banner: str,
        report: Report,
        *,
        terms: Terms = _IN_CLEAR,
        refusal: Status | None = None,
        refused: Callable[[str, str, Status], None] = lambda client, verb, status: None,
    ) -> None:
        super().__init__()
        self._limits = limits
        self._hostname = hostname
        self._banner = banner
        self._story = Story(client, report)
        self._terms = terms
        self._secure = False
        self._refusal = refusal
        self._client = client
        self._tell_refused = refused
        self.greeting: Greeting | None = None
        self.authenticated = False
        self._transaction: _Transaction | None = None
        self._asked: Event | None = None
        self._text: Text | None = None  # while a message comes
        self._exchange: sasl.Exchange | None = None
        self._mechanism = ""
        self._held = b""
        self._after_reset: Status | bytes | None = None
        self._verb = "CONNECT"
        self._errors = 0
        self._junk = 0
        self._failed_logins = 0
        self._secret = False  # a client that does not listen may say passwords where a command should stand

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
                self._text = Text(self._limits.message_size_limit)
                self._say(replies.on_the_wire(replies.SEND_TEXT))
            case EndOfMessage():
                # Whoever brings mail is forgiven the rest (smtpd.c, common_post_message_handling).
                self._errors = self._junk = 0
                self._done(replies.queued(queue_id))
            case Reset():
                reply, self._after_reset = self._after_reset, None
                if reply is not None:
                    self._done(reply)
            case StartTls():
                self._done(replies.TLS_READY)
                self._awaiting = True  # until ``secured``
            case Auth():
                self.authenticated = True
                self._done(replies.AUTHENTICATED)
            case Hold():
                held, self._held = self._held, b""
                self._send(held)

    def refuse(self, status: Status, *, told: bool = True) -> None:
        """What was asked for is not done, and why. A refused Content is told at the end of the message.

        told: the log has the refusal already where it is a recipient's or a whole message's, from the avatar, which knows the queue id.
        """
        asked, self._asked = self._asked, None
        self._answered()
        match asked:
            case Content():
                assert self._text is not None
                self._text.verdict = status
            case Auth(mechanism, username):
                self._failed_logins += status == replies.AUTH_FAILED  # what is only put off was no failure
                self._story.login_failed(mechanism, username, status)
                self._refused(status)
            case Recipient() | EndOfMessage() if told:
                self._refused(status)
            case Reset() | Hold() | None:
                raise AssertionError(f"{asked} cannot be refused")
            case _:
                self._reject(status, asked)
                if isinstance(asked, Data):
                    self._transaction = None
                self._refused(status)

    def secured(self, terms: Terms) -> None:
        """TLS has begun. What was said before it counts for nothing, and what came with STARTTLS is gone (RFC 3207, 4.2)."""
        if self._awaiting:  # not so where TLS began before anything was said
            self._answered()
        self._input.discard()
        self.progress += 1
        self._terms = terms
        self._secure = True
        self.greeting = None
        self.authenticated = False
        self._transaction = None

    def fail(self) -> None:
        if isinstance(self._asked, Reset | Hold):
            self.accept()
        else:
            self.refuse(replies.AUTH_LATER if isinstance(self._asked, Auth) else replies.BROKEN, told=False)

    # what the rim asks and says

    @property
    def text_octets(self) -> int | None:
        return None if self._text is None else self._text.octets

    @property
    def _is_progress(self) -> bool:
        return self._text is None  # a piece of a message wins its client only as much time as it is long

    @property
    def in_command(self) -> bool:
        return self._awaiting or self._text is not None or bool(self._held)

    def greet(self) -> None:
        if self._refusal is not None:
            self._goodbye(self._refusal)
            return
        self._story.connected()
        self._send(f"220 {self._banner}\r\n".encode("ascii", "replace"))

    def time_out(self) -> None:
        self._story.timed_out(self._where)
        self._goodbye(replies.timed_out(self._hostname))

    def shut_down(self) -> None:
        self._goodbye(replies.shutting_down(self._hostname))

    def lost(self) -> None:
        """The connection is gone, whoever ended it: the last line of the log."""
        if self._refusal is not None:
            return  # whoever refused it has told
        if not self.closing:
            self._story.lost(self._where)
        self._story.disconnected()

    @property
    def _where(self) -> str:
        return self._verb if self._text is None else f"DATA ({self._text.octets} bytes)"

    # understanding

    def _advance(self) -> Event | Turn:
        step = self._understand()
        self._asked = None if isinstance(step, Turn) else step
        return step

    def _understand(self) -> Event | Turn:
        if self._held:
            return Hold()
        if self._errors >= self._limits.hard_error_limit:
            self._story.too_many_errors(self._verb)
            return self._goodbye(replies.too_many_errors(self._hostname))
        if self._failed_logins >= self._limits.login_tries:
            # The last refusal was said: a 421 in its place would be taken for "later", and the same password tried again.
            self._story.too_many_errors(self._verb)
            return self._goodbye(replies.too_many_logins(self._hostname))
        if self._text is not None:
            return self._read_text(self._text)
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
        self._secret = self._secret or verb == "AUTH"
        understand = _VERBS.get(verb)
        if understand is None:
            return self._not_a_command(verb, line)
        self._verb = verb
        self._story.tally.given(verb)
        if self._terms.first is not None and verb not in _BEFORE_TLS:
            return self._refused(self._terms.first)
        if verb in ("HELO", "EHLO", "RSET", "NOOP", "VRFY", "HELP"):
            self._junk += 1
            if self._junk > self._limits.junk_command_limit:
                self._errors += 1
        try:
            return understand(self, argument)
        except grammar.Malformed as malformed:
            if verb in ("MAIL", "RCPT"):
                self._story.bad_address(verb, argument)
            return self._refused(malformed.status)

    def _not_a_command(self, verb: str, line: bytes) -> Turn:
        if not verb:
            return self._unknown(replies.BAD_SYNTAX)
        if not grammar.is_of_no_mail_client(verb):
            return self._unknown(replies.UNKNOWN_COMMAND)
        self._story.not_smtp(b"(not shown, behind AUTH)" if self._secret else line)
        self._unknown(replies.NON_SMTP)
        return self._goodbye(None)

    def _unknown(self, status: Status) -> Turn:
        self._verb = UNKNOWN
        self._story.tally.given(UNKNOWN)
        return self._refused(status)

    # the verbs

    def _helo(self, argument: bytes) -> Event | Turn:
        self.greeting = Greeting(grammar.client_name(argument, "HELO"), extended=False)
        return self._begin_anew(f"250 {self._hostname}\r\n".encode())

    def _ehlo(self, argument: bytes) -> Event | Turn:
        self.greeting = Greeting(grammar.client_name(argument, "EHLO"), extended=True)
        return self._begin_anew(replies.offers(self._hostname, self._limits.message_size_limit, self._terms))

    def _mail(self, argument: bytes) -> Event | Turn:
        # No greeting is asked for (Postfix: smtpd_helo_required = no): old printers and scripts begin with MAIL.
        if self._transaction is not None:
            return self._refused(replies.NESTED_MAIL)
        if self._terms.mail is not None and not self.authenticated:
            return self._refused(self._terms.mail)
        mail = Mail(*grammar.mail(argument, offers_auth=self._terms.login))
        limit = self._limits.message_size_limit
        if limit and (mail.parameters.size or 0) > limit:
            self._reject(replies.SIZE_ANNOUNCED, mail)
            return self._refused(replies.SIZE_ANNOUNCED)
        return mail

    def _rcpt(self, argument: bytes) -> Event | Turn:
        if self._transaction is None:
            return self._refused(replies.NEED_MAIL)
        self._transaction.tried += 1
        recipient = Recipient(*grammar.recipient(argument, smtputf8=self._transaction.mail.parameters.smtputf8))
        if self._transaction.taken >= self._limits.recipient_limit:
            return self._too_many_recipients(self._transaction, recipient)
        return recipient

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
        self._story.tally.done("QUIT")
        return self._goodbye(replies.BYE)

    # the text of a message

    def _read_text(self, text: Text) -> Event | Turn:
        if text.ended:
            return self._end_text(text)
        decided = text.verdict is not None
        piece = text.read(self._input)
        if piece is None:
            return Turn.STARVED
        if text.verdict is not None and not decided:
            return Reset()
        return Content(piece) if piece else Turn.ANSWERED  # swallowed, or not yet certain

    def _end_text(self, text: Text) -> Event | Turn:
        self._text = None
        self._verb = "END-OF-MESSAGE"
        if text.verdict is None:
            return EndOfMessage()
        self._reject(text.verdict, EndOfMessage())
        self._transaction = None
        return self._refused(text.verdict)

    # TLS (RFC 3207)

    def _starttls(self, argument: bytes) -> Event | Turn:
        if argument:
            return self._refused(grammar.syntax("STARTTLS"))
        if self._secure:
            return self._refused(replies.TLS_ACTIVE)
        if not self._terms.starttls:
            return self._refused(replies.TLS_NOT_OFFERED)
        return StartTls()

    # AUTH (RFC 4954)

    def _auth(self, argument: bytes) -> Event | Turn:
        if not self._terms.login:
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
            self._story.tally.done("DATA")
        else:
            self._story.tally.done(self._verb)
        self._say(reply if isinstance(reply, bytes) else replies.on_the_wire(reply))
        return Turn.ANSWERED

    def _refused(self, status: Status) -> Turn:
        utf8 = self._transaction is not None and self._transaction.mail.parameters.smtputf8
        if self._verb == "END-OF-MESSAGE":
            self._transaction = None
        self._errors += 1
        self._tell_refused(self._client, self._verb, status)
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
        mail = asked if isinstance(asked, Mail) else self._transaction and self._transaction.mail
        recipient = asked.address if isinstance(asked, Recipient) else None
        self._story.refused(self._verb, status, mail.sender if mail else None, recipient, self.greeting)


# Of the class and not of each connection: thousands of them may be open, and say nothing.
_VERBS: dict[str, Callable[[SmtpSession, bytes], Event | Turn]] = {
    "HELO": SmtpSession._helo,
    "EHLO": SmtpSession._ehlo,
    "AUTH": SmtpSession._auth,
    "STARTTLS": SmtpSession._starttls,
    "MAIL": SmtpSession._mail,
    "RCPT": SmtpSession._rcpt,
    "DATA": SmtpSession._data,
    "RSET": SmtpSession._rset,
    "NOOP": SmtpSession._noop,
    "VRFY": SmtpSession._vrfy,
    "HELP": SmtpSession._help,
    "QUIT": SmtpSession._quit,
}
