"""The server's side of one POP3 conversation, without any I/O (RFC 1939, 2449, 3206, 5034).

What is said stands here; what is done about it (passwords, files, waiting) is the rim's.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Sequence

from lanmail.pop3.events import Authenticate, Commit, Event, ListScan, ListUids, Retrieve, StartTls, TellUid
from lanmail.pop3.marks import Marks, NoSuchLetter
from lanmail.wire.conversation import Conversation, Turn
from lanmail.wire.dots import stuff
from lanmail.wire.lines import TooLong
from lanmail.wire.sasl import MAX_LINE, MECHANISMS, Challenge, Claim, Exchange, SaslError
from lanmail.wire.terms import Terms

# RFC 2449, 4: a command with its line end has at most 255 octets. Passwords are longer than its authors thought.
MAX_COMMAND = 512
# Postfix's smtpd_hard_error_limit; mail programs make none at all.
ERROR_LIMIT = 20
# Before the login there is little to say: a client that tries every mechanism it knows says a dozen things.
LOGIN_COMMANDS = 100
# Two mechanisms, and a person who mistypes once.
LOGIN_TRIES = 4
# A person reads this in a window of their mail program.
NOT_IN_CLEAR = (
    "[AUTH] Passwords are not taken in clear here: set your mail program to STARTTLS (or SSL/TLS), and try again"
)
STOPPING = "[SYS/TEMP] The service stops; please come back later"
# More lines than any message has; a client that means "all of it" sends numbers like 999999999.
_MANY_LINES = 2**31


class Pop3Session(Conversation[Event]):
    """One POP3 conversation. Marks (DELE) live here until QUIT; numbers are those of the snapshot that ``logged_in`` was given.

    banner: what stands behind the first ``+OK ``. It must not hold ``<``, which would announce APOP (RFC 1939, 7).
    implementation: what CAPA says we are.
    error_limit: after so many the conversation ends; a login forgives those before it. terms: what the client may do.
    login_commands: the most there may be before a login. login_tries: so many refused ones end the conversation.
    refusal: said instead of the banner, and all there is then (too many connections).
    """

    __slots__ = (
        "_banner",
        "_commands_before_login",
        "_error_limit",
        "_errors",
        "_exchange",
        "_failed_logins",
        "_implementation",
        "_line_start",
        "_login_commands",
        "_login_tries",
        "_marks",
        "_mechanism",
        "_outstanding",
        "_refusal",
        "_secure",
        "_terms",
        "_username",
        "ending",
    )

    def __init__(
        self,
        banner: str,
        *,
        implementation: str = "lanmail",
        error_limit: int = ERROR_LIMIT,
        refusal: str = "",
        terms: Terms = Terms(login=True),  # noqa: B008
        login_commands: int = LOGIN_COMMANDS,
        login_tries: int = LOGIN_TRIES,
    ) -> None:
        super().__init__()
        assert "<" not in banner, "a banner with < in it announces APOP"
        self._banner = banner
        self._implementation = implementation
        self._error_limit = error_limit
        self._refusal = refusal
        self._terms = terms
        self._secure = False
        self._errors = 0
        self._login_commands = login_commands
        self._login_tries = login_tries
        self._commands_before_login = self._failed_logins = 0
        self._username: bytes | None = None
        self._mechanism = ""
        self._exchange: Exchange | None = None
        self._marks: Marks | None = None
        self._outstanding: Event | None = None
        self._line_start = True
        self.ending = ""
        """Why the conversation ended other than by QUIT, for the log; empty while it did not."""

    @property
    def is_open(self) -> bool:
        """Somebody is logged in, and has a maildrop open."""
        return self._marks is not None

    @property
    def _is_progress(self) -> bool:
        return self.is_open  # until then all commands together have one time

    # what the rim says of its own accord

    def greet(self) -> None:
        if self._refusal:
            self._end("turned away", self._refusal)
        else:
            self._ok(self._banner)

    def time_out(self) -> None:
        # RFC 1939, 3: an autologout deletes nothing.
        self._end("silent for too long", "Autologout; idle for too long")

    def shut_down(self) -> None:
        self._end("the service stops", STOPPING)

    def fail(self) -> None:
        self.refuse("Something is wrong on our side; please try again later", "SYS/TEMP")

    # answers

    def logged_in(self, octets: Sequence[int], total: int | None = None) -> None:
        """To Authenticate: the maildrop is open and holds letters of so many octets each, and together (where that is known)."""
        self._answer_given()
        self._marks = Marks(octets, total)
        self.progress += 1
        self._errors = 0
        self._ok(f"Mailbox open, {len(octets)} messages")

    def refuse(self, text: str, code: str = "") -> None:
        """To any event: no. ``code`` is AUTH, SYS/TEMP, SYS/PERM, IN-USE (RFC 3206; RFC 2449, 8) or empty."""
        event = self._answer_given()
        if code:
            text = f"[{code}] {text}"
        if isinstance(event, Commit):
            # RFC 1939, 6: also after an error the connection is closed.
            self._end("nothing was deleted", text)
        elif isinstance(event, Authenticate):
            self._login_refused(text, counts=code == "AUTH")
        else:
            self._line(f"-ERR {text}")

    def starting_tls(self) -> None:
        """To StartTls: TLS begins behind this answer."""
        assert isinstance(self._outstanding, StartTls)
        self._ok("Begin TLS now")

    def secured(self, terms: Terms) -> None:
        """TLS has begun. What was said before it counts for nothing, and what came with STLS is gone (RFC 2595, 4)."""
        if self._awaiting:  # not so where TLS began before anything was said
            self._answer_given()
        self._input.discard()
        self._terms = terms
        self._secure = True
        self._username = None

    def heading(self) -> bytes:
        """The first line of the outstanding answer of many lines."""
        self._line_start = True
        match self._outstanding:
            case ListScan():
                return b"+OK Mailbox scan listing follows\r\n"
            case ListUids():
                return b"+OK Unique-ID listing follows\r\n"
            case Retrieve(number, None):
                return b"+OK %d octets\r\n" % self._open.size(number)
            case Retrieve():
                return b"+OK Top of message follows\r\n"
        raise AssertionError("nothing outstanding has more than one line")

    def scan_listing(self) -> Iterator[bytes]:
        """LIST's lines in pieces, as they go out."""
        return self._open.scan_listing()

    def uid_listing(self, unique_ids: Sequence[str]) -> Iterator[bytes]:
        """UIDL's lines in pieces, as they go out; ``unique_ids`` of all letters, the deleted ones too."""
        return self._open.uid_listing(unique_ids)

    def piece(self, chunk: bytes) -> bytes:
        """The next chunk of a letter as it goes out, its dots stuffed wherever it was cut."""
        stuffed = stuff(chunk, self._line_start)
        if chunk:
            self._line_start = chunk.endswith(b"\n")
        return stuffed

    def letter(self, text: bytes) -> None:
        """To Retrieve, where all of the letter is here: as heading, piece and finish say it together."""
        event = self._answer_given()
        assert isinstance(event, Retrieve)
        self._open.accessed(event.number)
        end = b".\r\n" if not text or text.endswith(b"\n") else b"\r\n.\r\n"
        self._send(b"".join((b"+OK %d octets\r\n" % self._open.size(event.number), stuff(text, True), end)))

    def finish(self, last: bytes) -> None:
        """The outstanding answer of many lines ends with this piece (as it goes out); the terminator is sent with it."""
        # In one write: by itself the terminator would wait for the client's delayed acknowledgement, 40 ms.
        event = self._answer_given()
        if isinstance(event, Retrieve):
            self._open.accessed(event.number)
        self._send(last + (b".\r\n" if self._line_start else b"\r\n.\r\n"))

    def unique_id(self, unique_id: str) -> None:
        """To TellUid."""
        event = self._answer_given()
        assert isinstance(event, TellUid)
        self._ok(f"{event.number} {unique_id}")

    def committed(self) -> None:
        """To Commit: what was marked is gone."""
        self._answer_given()
        self._goodbye()

    # understanding

    def _advance(self) -> Event | Turn:
        # Only a line of AUTH is long, and only before the login; the others are measured once they are here.
        line = self._input.line(MAX_COMMAND if self.is_open else MAX_LINE)
        if line is None:
            return Turn.STARVED
        step = self._respond(self._exchange, line) if self._exchange else self._command(line)
        if not isinstance(step, Turn):
            self._outstanding = step
        return step

    def _command(self, line: bytes | TooLong) -> Event | Turn:
        if not self.is_open:
            self._commands_before_login += 1
            if self._commands_before_login > self._login_commands:
                return self._end("too many commands before a login", "Too many commands before a login")
        if isinstance(line, TooLong):
            return self._error("The line is too long")
        word, _, rest = line.partition(b" ")
        verb = word.upper()
        if len(line) > MAX_COMMAND and verb != b"AUTH":
            return self._error("The line is too long")
        known = _AFTER_LOGIN if self.is_open else _BEFORE_LOGIN
        if verb not in known:
            if verb in _BEFORE_LOGIN or verb in _AFTER_LOGIN:
                return self._error("Already logged in" if self.is_open else "Log in first")
            return self._error("Unknown command")
        # The password is the one argument in which every space counts.
        arguments = [rest] if verb == b"PASS" else rest.split()
        fewest, most, understand = known[verb]
        if not fewest <= len(arguments) <= most:
            return self._error(_USAGE.get(verb, f"{verb.decode('ascii')} takes no argument"))
        try:
            return understand(self, arguments)
        except NoSuchLetter as trouble:
            return self._error(str(trouble))

    # before the login

    def _stls(self, _: list[bytes]) -> Event | Turn:
        if self._secure:
            return self._error("TLS is active already")
        return StartTls() if self._terms.starttls else self._error("Unknown command")

    def _user(self, arguments: list[bytes]) -> Turn:
        if not self._terms.login:
            return self._error(NOT_IN_CLEAR)
        username = b" ".join(arguments)
        if b"\0" in username:
            return self._error("A user name holds no NUL")
        self._username = username
        return self._ok("User name accepted, password please")

    def _pass(self, arguments: list[bytes]) -> Event | Turn:
        username, self._username = self._username, None
        if username is None:
            return self._error("Say USER first")
        password = arguments[0]
        if not password or b"\0" in password:  # PAM would take what stands before a NUL for the whole
            return self._error("That is no password")
        return Authenticate(username, password)

    def _auth(self, arguments: list[bytes]) -> Event | Turn:
        if not arguments:
            # In no RFC that counts; Mozilla and Outlook of 2003 ask so before they believe CAPA.
            return self._lines("Supported authentication mechanisms follow", MECHANISMS if self._terms.login else ())
        if not self._terms.login:
            return self._error(NOT_IN_CLEAR)
        self._username = None
        self._mechanism = arguments[0].decode("ascii", "replace").upper()
        try:
            exchange = Exchange(self._mechanism)
        except KeyError:
            return self._error("Unknown authentication mechanism; AUTH alone lists those we know")
        return self._exchanged(exchange, exchange.begin, arguments[1] if len(arguments) > 1 else None)

    def _respond(self, exchange: Exchange, line: bytes | TooLong) -> Event | Turn:
        self._exchange = None
        if isinstance(line, TooLong):
            return self._error("The line is too long")
        if line == b"*":  # RFC 5034, 4
            return self._error("Authentication cancelled")
        return self._exchanged(exchange, exchange.respond, line)

    def _exchanged(
        self, exchange: Exchange, step: Callable[..., Challenge | Claim], line: bytes | None
    ) -> Event | Turn:
        try:
            outcome = step(line)
        except SaslError as trouble:
            return self._error(f"That makes no sense: {trouble}")
        if isinstance(outcome, Claim):
            return Authenticate(outcome.username, outcome.password, self._mechanism)
        self._exchange = exchange
        self._send(b"+ " + base64.b64encode(outcome.text) + b"\r\n")
        return Turn.ANSWERED

    # at any time

    def _capa(self, _: list[bytes]) -> Turn:
        return self._lines(
            "Capability list follows",
            (
                "TOP",
                "UIDL",
                *(("USER", f"SASL {' '.join(MECHANISMS)}") if self._terms.login else ()),
                *(("STLS",) if self._terms.starttls and not self.is_open else ()),
                "RESP-CODES",
                "AUTH-RESP-CODE",
                "PIPELINING",
                "EXPIRE NEVER",
                f"IMPLEMENTATION {self._implementation}",
            ),
        )

    def _quit(self, _: list[bytes]) -> Event | Turn:
        return Commit(frozenset(self._open.deleted)) if self.is_open else self._goodbye()

    # after the login; numbers raise NoSuchLetter

    def _stat(self, _: list[bytes]) -> Turn:
        return self._ok(f"{self._open.count} {self._open.total}")

    def _list(self, arguments: list[bytes]) -> Event | Turn:
        if not arguments:
            return ListScan()
        number = self._open.number(arguments[0])
        return self._ok(f"{number} {self._open.size(number)}")

    def _uidl(self, arguments: list[bytes]) -> Event | Turn:
        return TellUid(self._open.number(arguments[0])) if arguments else ListUids()

    def _retr(self, arguments: list[bytes]) -> Event | Turn:
        return Retrieve(self._open.number(arguments[0]))

    def _top(self, arguments: list[bytes]) -> Event | Turn:
        if not arguments[1].isdigit():
            return self._error(_USAGE[b"TOP"])
        return Retrieve(self._open.number(arguments[0]), min(int(arguments[1]), _MANY_LINES))

    def _dele(self, arguments: list[bytes]) -> Turn:
        self._open.delete(self._open.number(arguments[0]))
        return self._ok("Message deleted")

    def _rset(self, _: list[bytes]) -> Turn:
        self._open.reset()
        return self._ok("Reset state")

    def _noop(self, _: list[bytes]) -> Turn:
        return self._ok("No-op to you too!")

    def _last(self, _: list[bytes]) -> Turn:
        # RFC 1460, 3. Gone since 1994, and still asked for by the clients of that time.
        return self._ok(str(self._open.highest))

    # within

    def _login_refused(self, text: str, *, counts: bool) -> Turn:
        """counts: the name or the password was wrong; what is only put off was no failure."""
        self._failed_logins += counts
        if self._failed_logins >= self._login_tries:
            return self._end("too many failed logins", f"{text}; that was one try too many")
        return self._error(text)

    @property
    def _open(self) -> Marks:
        assert self._marks is not None, "nobody is logged in"
        return self._marks

    def _answer_given(self) -> Event | None:
        self._answered()
        event, self._outstanding = self._outstanding, None
        return event

    def _line(self, text: str) -> Turn:
        self._send(text.encode("utf-8", "replace") + b"\r\n")
        return Turn.ANSWERED

    def _ok(self, text: str) -> Turn:
        return self._line(f"+OK {text}")

    def _lines(self, text: str, lines: Iterable[str]) -> Turn:
        return self._line("\r\n".join((f"+OK {text}", *lines, ".")))

    def _error(self, text: str) -> Turn:
        """The client did something wrong. Too much of it ends the conversation."""
        self._errors += 1
        if self._errors >= self._error_limit:
            return self._end("too many errors", f"{text}; that was one error too many")
        return self._line(f"-ERR {text}")

    def _goodbye(self) -> Turn:
        self._ok("Sayonara")
        self._close()
        return Turn.ANSWERED

    def _end(self, why: str, text: str) -> Turn:
        self.ending = why
        self._line(f"-ERR {text}")
        self._close()
        return Turn.ANSWERED


# verb: how many arguments it takes at least and at most, and what understands them
_Verbs = dict[bytes, tuple[int, int, Callable[[Pop3Session, list[bytes]], Event | Turn]]]

_BEFORE_LOGIN: _Verbs = {
    b"AUTH": (0, 2, Pop3Session._auth),
    b"CAPA": (0, 0, Pop3Session._capa),
    b"PASS": (1, 1, Pop3Session._pass),
    b"QUIT": (0, 0, Pop3Session._quit),
    b"STLS": (0, 0, Pop3Session._stls),
    # No name has a space in it; whoever sends one hears so after PASS, like anybody who is not known here.
    b"USER": (1, MAX_COMMAND, Pop3Session._user),
}
_AFTER_LOGIN: _Verbs = {
    b"CAPA": (0, 0, Pop3Session._capa),
    b"DELE": (1, 1, Pop3Session._dele),
    b"LAST": (0, 0, Pop3Session._last),
    b"LIST": (0, 1, Pop3Session._list),
    b"NOOP": (0, 0, Pop3Session._noop),
    b"QUIT": (0, 0, Pop3Session._quit),
    b"RETR": (1, 1, Pop3Session._retr),
    b"RSET": (0, 0, Pop3Session._rset),
    b"STAT": (0, 0, Pop3Session._stat),
    b"TOP": (2, 2, Pop3Session._top),
    b"UIDL": (0, 1, Pop3Session._uidl),
}
_USAGE = {
    b"AUTH": "AUTH takes a mechanism and perhaps an initial response",
    b"DELE": "DELE takes the number of a message",
    b"LIST": "LIST takes the number of a message, or nothing",
    b"RETR": "RETR takes the number of a message",
    b"TOP": "TOP takes the number of a message and a number of lines",
    b"UIDL": "UIDL takes the number of a message, or nothing",
    b"USER": "USER takes a name",
}
