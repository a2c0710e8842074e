"""Whole sessions of SMTP and POP3, through the protocols that Twisted would carry: one reply to each command, in order, well formed;
the same conversation however it is cut; what is delivered or deleted is what was said."""

from __future__ import annotations

import re

from twisted.internet.task import Clock

from lanmail.smtp.limits import SmtpLimits
from lanmail.wire.terms import Terms
from tests.caller import PYTHON
from tests.dialogue import MemoryTransport
from tests.fuzz.target import Target, cuts_of
from tests.pop3.fakes import Accounts, RememberingMaildrop, letter, make_factory
from tests.smtp.fakes import Door

_LINE = re.compile(rb"(?:[^\x00-\x1f\x7f]{3,510}|\+ )\r\n")
_LIMITS = SmtpLimits(message_size_limit=2000, recipient_limit=3, recipient_overshoot_limit=2, error_sleep_time=0)


class Wire(MemoryTransport):
    """Speaks TLS when it is told to: what comes from then on comes under it."""

    tls = False

    def startTLS(self, contexts: object) -> None:
        self.tls = True

    def heard(self) -> bytes:
        self._clock.advance(0)
        said = self.value()
        self.clear()
        if self.tls and not self.gone:
            self.tls = False
            self.protocol.handshakeCompleted()
        return bytes(said)


def _well_formed(said: bytes) -> None:
    assert not said or said.endswith(b"\r\n"), said
    for line in said.splitlines(keepends=True):
        assert _LINE.fullmatch(line), line
        assert not PYTHON.search(line), line


# SMTP


def _smtp_wire() -> tuple[Door, Wire]:
    clock = Clock()
    door = Door(_LIMITS, clock=clock, offer_auth=True)
    door.factory.terms = lambda peer: Terms(starttls=not peer.tls, login=True)
    transport = Wire(clock, "192.168.1.5", "192.168.1.1")
    transport.connect(door.factory.buildProtocol(transport.getPeer()))
    transport.heard()
    return door, transport


def _end_of_text(text: bytes) -> bytes | None:
    """What a message is, with LF line ends, of all that came since 354; None where it has not ended. Line by line: slow and plain."""
    meant, after_crlf = b"", True
    lines = text.split(b"\n")
    for line in lines[:-1]:
        crlf = line.endswith(b"\r")
        bare = line.removesuffix(b"\r")
        if bare == b"." and crlf and after_crlf:
            return meant
        meant += (bare[1:] if bare.startswith(b".") and bare != b"." else bare) + b"\n"
        after_crlf = crlf
    return None


def smtp(data: bytes) -> None:
    """Line by line, so that it is known which reply is whose; then in other pieces, with the same outcome."""
    door, wire = _smtp_wire()
    transcript = b""
    text: bytes | None = None  # of a message, as it came
    messages: list[bytes] = []
    tls = False
    for line in re.findall(rb"[^\n]*\n|[^\n]+\Z", data):
        if wire.disconnecting:
            break
        wire.say(line)
        tls = tls or wire.tls
        said = wire.heard()
        transcript += said
        _well_formed(said)
        replies = [each for each in said.splitlines() if each[3:4] != b"-"]
        if text is not None:
            text += line
            message = _end_of_text(text)
            assert len(replies) == (0 if message is None else 1) or wire.disconnecting, (line, said)
            if message is not None:
                text = None
                assert said[:4] in (b"250 ", b"552 "), said
                if said.startswith(b"250 "):
                    messages.append(message)
                else:
                    assert len(message) + message.count(b"\n") > _LIMITS.message_size_limit
        elif line.endswith(b"\n"):
            # A goodbye may follow the last answer at once.
            assert len(replies) == 1 or (len(replies) == 2 and replies[1].startswith(b"421 ")), (line, said)
            if replies[-1].startswith(b"354 "):
                text = b""
        else:
            assert not replies, (line, said)
    _delivered(door, messages)
    if not tls:
        other, another = _smtp_wire()
        again = b""
        for piece in cuts_of(data):
            another.say(piece)
            again += another.heard()
        assert not another.tls
        assert again == transcript, (transcript, again)
        _delivered(other, messages)
        another.drop()
    wire.drop()
    door.clock.advance(0)
    assert not door.clock.getDelayedCalls()
    assert door.capacity.taken == 0
    assert sorted(map(str, door.realm.logins)) == sorted(map(str, door.realm.logouts))


def _delivered(door: Door, messages: list[bytes]) -> None:
    found = [incoming.text for avatar in door.realm.avatars for incoming in avatar.delivered]
    assert sorted(found) == sorted(messages), (found, messages)


_AUTH = b"AUTH PLAIN AGp1bGllbgBzZWNyZXQ=\r\n"
_MAIL = b"MAIL FROM:<julien@x.example>\r\nRCPT TO:<nel@x.example>\r\n"
_SMTP_SEEDS = (
    b"EHLO pc\r\n" + _MAIL + b"DATA\r\nSubject: x\r\n\r\n..text\r\n.\r\nQUIT\r\n",
    b"HELO pc\r\nMAIL FROM:<>\r\nRCPT TO:<nobody@x>\r\nRCPT TO:<julien@x>\r\nDATA\r\n.\r\n"
    + _MAIL
    + b"DATA\r\nx\r\n.\r\n",
    b"EHLO pc\r\n" + _AUTH + b"MAIL FROM:<a@b> SIZE=100 BODY=8BITMIME RET=HDRS ENVID=x+2By\r\n"
    b"RCPT TO:<nel@x> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;nel+40x\r\nRSET\r\nNOOP\r\nVRFY nel\r\nHELP\r\nQUIT\r\n",
    b"EHLO pc\r\nAUTH LOGIN\r\nanVsaWVu\r\nc2VjcmV0\r\nAUTH LOGIN\r\n*\r\nAUTH PLAIN\r\n=\r\n",
    b"EHLO pc\r\nSTARTTLS\r\nEHLO pc\r\n" + _AUTH + _MAIL + b"DATA\r\nx\r\n.\r\nSTARTTLS\r\n",
    b"EHLO pc\r\n"
    + _MAIL
    + b"DATA\r\n"
    + b"0123456789\r\n" * 170
    + b".\r\nRSET\r\n"
    + b"NOOP\r\n" * 20
    + b"XYZZY\r\n" * 25,
    b"EHLO pc\r\nMAIL FROM:<\xc3\xa9@x.example> SMTPUTF8\r\nRCPT TO:<nel@\xc3\xa9.example>\r\n"
    + b"RCPT TO:<nel@x>\r\n" * 8,
    b"EHLO pc\r\n" + _MAIL + b"DATA\r\na\n.\nb\r\n.\nc\n.\r\nd\r.\re\r\n\0.\r\n.\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
)
_SMTP_WORDS = (
    *(
        b"EHLO x\r\n",
        b"HELO x\r\n",
        _AUTH,
        b"AUTH LOGIN\r\n",
        b"STARTTLS\r\n",
        _MAIL,
        b"MAIL FROM:<>\r\n",
        b"RCPT TO:<nel>\r\n",
    ),
    *(
        b"DATA\r\n",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"VRFY x\r\n",
        b"HELP\r\n",
        b"QUIT\r\n",
        b"BDAT 5 LAST\r\n",
        b"=\r\n",
        b"*\r\n",
    ),
    *(b" SIZE=", b" BODY=", b" SMTPUTF8", b" AUTH=<>", b" RET=FULL", b" ENVID=", b" NOTIFY=NEVER", b" ORCPT=rfc822;"),
)


# POP3

_LETTERS = (letter(500), letter(3000, "dots") + b".\r\n..\r\n", b"Subject: short\r\n\r\nno end of line")
_MANY = {b"LIST": 0, b"UIDL": 0, b"RETR": 1, b"TOP": 2, b"CAPA": 0}


def _pop3_wire() -> tuple[RememberingMaildrop, Wire]:
    clock = Clock()
    maildrop = RememberingMaildrop(*_LETTERS, chunk=700)
    factory = make_factory(
        Accounts(maildrop, password=b"secret"), clock, terms=lambda peer: Terms(starttls=not peer.tls, login=True)
    )
    wire = Wire(clock, "192.168.1.3")
    wire.connect(factory.buildProtocol(wire.getPeer()))
    wire.heard()
    return maildrop, wire


def pop3(data: bytes) -> None:
    """As above."""
    maildrop, wire = _pop3_wire()
    transcript = b""
    tls = inside = False
    marked: set[int] = set()
    for line in re.findall(rb"[^\n]*\n|[^\n]+\Z", data):
        if wire.disconnecting or wire.gone:
            break
        wire.say(line)
        tls = tls or wire.tls
        said = wire.heard()
        transcript += said
        if not line.endswith(b"\n"):
            assert not said, (line, said)
            continue
        verb, _, rest = line.removesuffix(b"\n").removesuffix(b"\r").partition(b" ")
        words = rest.split()
        first, _, more = said.partition(b"\r\n")
        _well_formed(first + b"\r\n")
        assert first.startswith((b"+OK", b"-ERR", b"+ ")), (line, said)
        verb = verb.upper()
        if first.startswith(b"+OK"):
            if (verb in _MANY and len(words) == _MANY[verb]) or (verb == b"AUTH" and not words):
                _is_text(more, verb, words)
            elif more:
                assert more.startswith(b"-ERR") and wire.disconnecting, (line, said)
            if verb == b"DELE":
                marked.add(int(words[0]))
            elif verb == b"RSET":
                marked.clear()
            elif verb == b"QUIT" and inside:
                assert maildrop.committed == [frozenset(marked)], (maildrop.committed, marked)
            inside = inside or first.startswith(b"+OK Mailbox open")
        else:
            assert not more, (line, said)
    if not tls:
        other, another = _pop3_wire()
        again = b""
        for piece in cuts_of(data):
            another.say(piece)
            again += another.heard()
        assert again == transcript, (transcript, again)
        assert other.committed == maildrop.committed
        another.drop()
    wire.drop()
    assert maildrop.closed == (1 if inside else 0)


def _is_text(more: bytes, verb: bytes, words: list[bytes]) -> None:
    assert more == b".\r\n" or more.endswith(b"\r\n.\r\n"), more[-20:]
    lines = more[:-3].split(b"\r\n")[:-1]
    assert all(not line.startswith(b".") or line.startswith(b"..") for line in lines), (verb, lines)
    text = b"".join(line.removeprefix(b".") + b"\r\n" for line in lines)
    if verb == b"RETR":
        assert text.removesuffix(b"\r\n") == _LETTERS[int(words[0]) - 1].removesuffix(b"\r\n")
    elif verb == b"TOP":
        assert _LETTERS[int(words[0]) - 1].startswith(text.removesuffix(b"\r\n"))


_IN = b"USER nel\r\nPASS secret\r\n"
_POP3_SEEDS = (
    _IN + b"STAT\r\nLIST\r\nUIDL\r\nRETR 1\r\nDELE 1\r\nQUIT\r\n",
    _IN
    + b"LIST 2\r\nUIDL 3\r\nTOP 2 3\r\nTOP 3 0\r\nRETR 3\r\nDELE 2\r\nDELE 3\r\nRSET\r\nLAST\r\nNOOP\r\nDELE 1\r\nDELE 1\r\nQUIT\r\n",
    b"CAPA\r\nAUTH\r\nAUTH PLAIN AG5lbABzZWNyZXQ=\r\nRETR 2\r\n",
    b"AUTH LOGIN\r\nbmVs\r\nc2VjcmV0\r\nSTAT\r\nQUIT\r\n",
    b"AUTH PLAIN\r\n*\r\nAUTH PLAIN\r\nAG5lbABzZWNyZXQ=\r\nCAPA\r\n",
    b"STLS\r\n" + _IN + b"STLS\r\nRETR 1\r\n",
    b"USER nel\r\nPASS wrong\r\nPASS x\r\nXYZZY\r\nRETR 1\r\nAPOP nel x\r\n" + b"NOOP\r\n" * 22,
)
_POP3_WORDS = (
    *(
        _IN,
        b"STAT\r\n",
        b"LIST\r\n",
        b"UIDL\r\n",
        b"RETR 1\r\n",
        b"RETR 3\r\n",
        b"TOP 2 5\r\n",
        b"DELE 2\r\n",
        b"RSET\r\n",
        b"QUIT\r\n",
    ),
    *(
        b"CAPA\r\n",
        b"AUTH\r\n",
        b"AUTH PLAIN",
        b"AUTH LOGIN\r\n",
        b"STLS\r\n",
        b"LAST\r\n",
        b"NOOP\r\n",
        b"=\r\n",
        b"*\r\n",
        b" 999999999999",
    ),
)


TARGETS = (
    Target("smtp", smtp, _SMTP_SEEDS, _SMTP_WORDS),
    Target("pop3", pop3, _POP3_SEEDS, _POP3_WORDS),
)
