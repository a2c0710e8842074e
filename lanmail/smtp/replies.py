"""What the conversation says by itself: Postfix's words, so that what knows Postfix's logs and replies knows ours."""

from __future__ import annotations

import re
from functools import lru_cache

from lanmail.status import Status
from lanmail.wire.sasl import MECHANISMS
from lanmail.wire.terms import Terms

# RFC 5321, 4.5.3.1.5: a reply line holds 512 octets with its CRLF.
_MAX_REPLY = 510
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

OK = Status(250, "2.0.0", "Ok")
SENDER_OK = Status(250, "2.1.0", "Ok")
RECIPIENT_OK = Status(250, "2.1.5", "Ok")
SEND_TEXT = Status(354, "", "End data with <CR><LF>.<CR><LF>")
BYE = Status(221, "2.0.0", "Bye")
AUTHENTICATED = Status(235, "2.7.0", "Authentication successful")
# Postfix says 252 of a local user and 550 of an unknown one. We say 252 of everybody, as RFC 5321, 3.5.3 and 7.3 allow: RCPT
# knows sender and client, and so the whole answer; a second place that answers would have to be kept equal to it, for
# clients that do not exist, and would be the cheaper one for whoever tries out names.
VRFY = Status(252, "2.0.0", "Send it some mail, and RCPT will say")
HELP = Status(214, "2.0.0", "EHLO HELO MAIL RCPT DATA RSET NOOP VRFY HELP QUIT (RFC 5321)")

BAD_SYNTAX = Status(500, "5.5.2", "Error: bad syntax")
LINE_TOO_LONG = Status(500, "5.5.2", "Error: line too long")
UNKNOWN_COMMAND = Status(502, "5.5.2", "Error: command not recognized")
GREET_FIRST = Status(503, "5.5.1", "Error: send HELO/EHLO first")
NESTED_MAIL = Status(503, "5.5.1", "Error: nested MAIL command")
NEED_MAIL = Status(503, "5.5.1", "Error: need MAIL command")
NEED_RCPT = Status(503, "5.5.1", "Error: need RCPT command")
NO_VALID_RECIPIENTS = Status(554, "5.5.1", "Error: no valid recipients")
TOO_MANY_RECIPIENTS = Status(452, "4.5.3", "Error: too many recipients")
SIZE_ANNOUNCED = Status(552, "5.3.4", "Message size exceeds fixed limit")
TOO_LARGE = Status(552, "5.3.4", "Error: message file too big")

TLS_READY = Status(220, "2.0.0", "Ready to start TLS")
TLS_ACTIVE = Status(554, "5.5.1", "Error: TLS already active")
TLS_NOT_OFFERED = Status(502, "5.5.1", "Error: command not implemented")

AUTH_NOT_OFFERED = Status(503, "5.5.1", "Error: authentication not enabled")
AUTH_AGAIN = Status(503, "5.5.1", "Error: already authenticated")
AUTH_IN_MAIL = Status(503, "5.5.1", "Error: MAIL transaction in progress")
AUTH_UNKNOWN = Status(504, "5.5.4", "Unrecognized authentication type")
AUTH_ABORTED = Status(501, "5.7.0", "Authentication aborted")
AUTH_LINE_TOO_LONG = Status(500, "5.5.6", "Authentication exchange line is too long")
AUTH_LATER = Status(454, "4.7.0", "Temporary authentication failure")
AUTH_FAILED = Status(535, "5.7.8", "Error: authentication failed")

NON_SMTP = Status(221, "2.7.0", "Error: I can break rules, too. Goodbye.")
BROKEN = Status(451, "4.3.0", "Error: something went wrong here, try again later")


@lru_cache(maxsize=64)
def offers(hostname: str, size_limit: int, terms: Terms) -> bytes:
    """What EHLO is answered: our name, and what we can."""
    words = [hostname, "PIPELINING", f"SIZE {size_limit}" if size_limit else "SIZE", "VRFY"]
    if terms.starttls:
        words.append("STARTTLS")
    if terms.login:
        words.append("AUTH " + " ".join(MECHANISMS))
    words += ["ENHANCEDSTATUSCODES", "8BITMIME", "DSN", "SMTPUTF8"]
    return "".join([f"250-{word}\r\n" for word in words[:-1]] + [f"250 {words[-1]}\r\n"]).encode()


def too_many_errors(hostname: str) -> Status:
    return Status(421, "4.7.0", f"{hostname} Error: too many errors")


def too_many_logins(hostname: str) -> Status:
    return Status(421, "4.7.0", f"{hostname} Error: too many failed logins")


def timed_out(hostname: str) -> Status:
    return Status(421, "4.4.2", f"{hostname} Error: timeout exceeded")


def shutting_down(hostname: str) -> Status:
    return Status(421, "4.3.2", f"{hostname} Service shutting down, closing the connection")


def queued(queue_id: str) -> Status:
    """``queue_id`` is empty where whoever took the message has none to tell."""
    if not queue_id:
        return OK
    return Status(250, "2.0.0", f"Ok: queued as {queue_id}")


def on_the_wire(status: Status, *, utf8: bool = False) -> bytes:
    """One reply of one line, whatever its text holds. ``utf8``: the client understands it (RFC 6531, 3.5)."""
    text = f"{status.code} {status.enhanced} {status.text}" if status.enhanced else f"{status.code} {status.text}"
    if len(text) <= _MAX_REPLY and text.isascii() and text.isprintable():
        return text.encode() + b"\r\n"
    # A text may quote what a client said; a control character in it could end the line and begin another reply.
    octets = _CONTROL.sub("?", text).encode("utf-8" if utf8 else "ascii", "replace")[:_MAX_REPLY]
    return octets.decode("utf-8", "ignore").encode() + b"\r\n"
