"""The arguments of SMTP's verbs (RFC 5321, 4.1.2): octets in, values out, or the refusal to be said.

Strict where a sloppy reading would change where mail goes, lenient where real clients need it and Postfix gives it:
spaces after the colon, an address without its brackets, dots anywhere in a local part, no domain. Every function
takes time linear in its argument, which the conversation has bounded already.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, TypeVar

from lanmail.address import NULL_SENDER, Address, canonical_domain
from lanmail.interfaces import MailParameters, RecipientParameters
from lanmail.smtp import dsn
from lanmail.status import Status

T = TypeVar("T")

# An address is written into header lines (Return-Path, Delivered-To), and RFC 5322, 2.1.1 ends those at 998 octets.
# RFC 5321 would allow 64 for a local part and 256 for the whole; senders of mailing lists go past both, and Postfix
# lets them.
MAX_ADDRESS = 900
MAX_DOMAIN = 255

# RFC 5321's atext and the dot. "@" too: the last one parts local part from domain, so that user@elsewhere@here is
# an address at "here", refused there as somebody nobody knows, and never understood as one elsewhere.
_UNQUOTED = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.@\-\u0080-\U0010ffff]+")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,63}\Z")
# Ends of paragraphs, and what turns the direction of a line round so that a log shows another address than it holds.
_TREACHEROUS = re.compile("[\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_COMMAND = re.compile(rb"(?s)[ \t]*([^ \t]*)[ \t]*(.*)")
# What is no mail client: a web client that somebody's page makes talk to us, the header of a message whose DATA was
# refused, the hello of TLS (Postfix: smtpd_forbidden_commands, and is_header in smtpd.c).
_NOT_SMTP = re.compile(r"(?:CONNECT|GET|POST)\Z|[^A-Z]|.*:")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_KEYWORD = re.compile(rb"[A-Za-z0-9][A-Za-z0-9-]*\Z")
# What would have a meaning in the comment of a Received header, where the client's name goes (Postfix: NEUTER_CHARACTERS).
_MEANINGFUL = str.maketrans(dict.fromkeys(' <>()\\";@', "?"))


class Malformed(ValueError):
    """The argument is refused, with the status that says why."""

    def __init__(self, status: Status) -> None:
        super().__init__(str(status))
        self.status = status


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an address stands, and so how its errors are numbered (RFC 3463, 3.2)."""

    prefix: bytes
    syntax: str
    bad_address: Status


_FROM = _Place(b"FROM:", "MAIL FROM:<address>", Status(501, "5.1.7", "Bad sender address syntax"))
_TO = _Place(b"TO:", "RCPT TO:<address>", Status(501, "5.1.3", "Bad recipient address syntax"))
_NOT_ASCII = Status(553, "5.6.7", "The address is not ASCII and the message was not declared SMTPUTF8")


def syntax(form: str) -> Status:
    return Status(501, "5.5.4", f"Syntax: {form}")


def split_command(line: bytes) -> tuple[str, bytes]:
    """The verb in upper case and everything behind it. Octets that are not ASCII make a verb that nobody knows."""
    verb, argument = _COMMAND.match(line).groups()  # type: ignore[union-attr]  # it matches anything
    return verb.decode("ascii", "replace").upper(), argument.rstrip(b" \t")


def is_of_no_mail_client(verb: str) -> bool:
    """Whether whoever says this ``split_command`` verb speaks another protocol, and it is best not to listen any longer."""
    return _NOT_SMTP.match(verb) is not None


def client_name(argument: bytes, verb: str) -> str:
    """The argument of HELO and EHLO: nearly anything, as with Postfix, for it decides nothing.

    But it is written into logs and headers, so what is not ASCII there, or has a meaning in a header, becomes ``?``
    (there are machines named MÉLANIE-PC). Malformed when empty, or with control characters.
    """
    if not argument or _CONTROL.search(argument):
        raise Malformed(syntax(f"{verb} hostname"))
    text = argument.decode("utf-8", "replace")
    return text.encode("ascii", "replace").decode().translate(_MEANINGFUL)


def mail(argument: bytes, *, offers_auth: bool = False) -> tuple[Address, MailParameters]:
    """MAIL's argument. The null sender is NULL_SENDER; source routes are left out."""
    path, words = _split_path(argument, _FROM)
    parameters = _mail_parameters(words, offers_auth)
    if path == b"<>":
        return NULL_SENDER, parameters
    return _address(path, _FROM, parameters.smtputf8), parameters


def recipient(argument: bytes, *, smtputf8: bool = False) -> tuple[Address, RecipientParameters]:
    """RCPT's argument. ``<postmaster>`` and other names without a domain have an empty one."""
    path, words = _split_path(argument, _TO)
    parameters = _recipient_parameters(words, smtputf8)
    return _address(path, _TO, smtputf8), parameters


# the path, and what follows it


def _split_path(argument: bytes, place: _Place) -> tuple[bytes, list[bytes]]:
    """The address as written, with its brackets if it has any, and the parameters."""
    if _CONTROL.search(argument) or argument[: len(place.prefix)].upper() != place.prefix:
        raise Malformed(syntax(place.syntax))
    rest = argument[len(place.prefix) :].lstrip(b" ")
    end = _end_of_path(rest)
    if not end:
        raise Malformed(syntax(place.syntax) if not rest else place.bad_address)
    path, rest = rest[:end], rest[end:]
    if rest and not rest.startswith(b" "):
        raise Malformed(place.bad_address)
    return path, rest.split()


def _end_of_path(text: bytes) -> int:
    """How long the address at the start of ``text`` is: to its ``>``, or to a space, outside quotes. 0 if it does not end."""
    bracketed = text.startswith(b"<")
    if b'"' not in text:
        end = text.find(b">" if bracketed else b" ")
        return end + bracketed if end >= 0 else 0 if bracketed else len(text)
    quoted = escaped = False
    for position, octet in enumerate(text):
        if escaped:
            escaped = False
        elif quoted:
            escaped = octet == 0x5C
            quoted = octet != 0x22
        elif octet == 0x22:
            quoted = True
        elif bracketed and octet == 0x3E:
            return position + 1
        elif not bracketed and octet == 0x20:
            return position
    return 0 if bracketed or quoted else len(text)


def _mail_parameters(words: list[bytes], offers_auth: bool) -> MailParameters:
    size: int | None = None
    body = "7BIT"
    smtputf8 = False
    ret = envid = ""
    for word in words:
        keyword, equals, value = word.partition(b"=")
        match keyword.upper():
            case b"SIZE" if equals:
                # RFC 1870: at most twenty digits.
                if not (value.isdigit() and len(value) <= 20):
                    raise Malformed(Status(501, "5.5.4", "Bad message size syntax"))
                size = int(value)
            case b"BODY" if equals:
                body = value.decode("ascii", "replace").upper()
                if body not in ("7BIT", "8BITMIME"):
                    raise Malformed(Status(501, "5.5.4", "Unsupported body type"))
            case b"SMTPUTF8" if not equals:
                smtputf8 = True
            case b"AUTH" if equals and offers_auth:
                # RFC 4954, 5: a claim of who wrote it. We believe nobody's, and may say nothing against it.
                _checked("AUTH", dsn.xtext, value)
            case b"RET" if equals:
                ret = _once("RET", ret, dsn.ret, value)
            case b"ENVID" if equals:
                envid = _once("ENVID", envid, dsn.envid, value)
            case _:
                _unsupported(word)
    return MailParameters(size, body, smtputf8, ret, envid)


def _recipient_parameters(words: list[bytes], smtputf8: bool) -> RecipientParameters:
    notify = orcpt = ""
    for word in words:
        keyword, equals, value = word.partition(b"=")
        match keyword.upper():
            case b"NOTIFY" if equals:
                notify = _once("NOTIFY", notify, dsn.notify, value)
            case b"ORCPT" if equals:
                orcpt = _once("ORCPT", orcpt, lambda octets: dsn.orcpt(octets, smtputf8=smtputf8), value)
            case _:
                _unsupported(word)
    return RecipientParameters(notify, orcpt)


def _once(keyword: str, already: str, read: Callable[[bytes], str], value: bytes) -> str:
    """A value that may be said once (RFC 3461, 4): of two, which would count?"""
    if already:
        raise Malformed(_bad_parameter(keyword))
    return _checked(keyword, read, value)


def _checked(keyword: str, read: Callable[[bytes], T], value: bytes) -> T:
    try:
        return read(value)
    except ValueError:
        raise Malformed(_bad_parameter(keyword)) from None


def _bad_parameter(keyword: str) -> Status:
    # The two of RCPT have another word before them in Postfix.
    error = "Error: " if keyword in ("NOTIFY", "ORCPT") else ""
    return Status(501, "5.5.4", f"{error}Bad {keyword} parameter syntax")


def _unsupported(word: bytes) -> NoReturn:
    keyword = word.partition(b"=")[0]
    if not _KEYWORD.match(keyword):
        raise Malformed(Status(501, "5.5.4", "Bad parameter syntax"))
    raise Malformed(Status(555, "5.5.4", f"Unsupported option: {keyword[:40].decode()}"))


# the address


def _address(path: bytes, place: _Place, smtputf8: bool) -> Address:
    bare = path[1:-1].strip(b" ") if path.startswith(b"<") else path
    if not bare or len(bare) > MAX_ADDRESS:
        raise Malformed(place.bad_address)
    if not smtputf8 and not bare.isascii():
        raise Malformed(_NOT_ASCII)
    try:
        text = unicodedata.normalize("NFC", bare.decode("utf-8"))
        return _parse_address(_without_route(text))
    except ValueError:
        raise Malformed(place.bad_address) from None


def _without_route(text: str) -> str:
    """``@a,@b:user@c`` is ``user@c`` (RFC 5321, appendix C); the route is checked for its form only."""
    if not text.startswith("@"):
        return text
    route, colon, text = text.partition(":")
    if not colon:
        raise ValueError("a route to nobody")
    for hop in route.split(","):
        if not hop.startswith("@"):
            raise ValueError("a route of something else than domains")
        _domain(hop[1:])
    return text


def _parse_address(text: str) -> Address:
    """An address without brackets and route. ValueError."""
    # ASCII's own were refused with the whole argument.
    if not text.isascii() and (_TREACHEROUS.search(text) or any(unicodedata.category(char) == "Cc" for char in text)):
        raise ValueError("control characters")
    meant, position = "", 0
    at, quoted_to = -1, 0
    while position < len(text):
        if word := _QUOTED.match(text, position):
            meant += _ESCAPED.sub(r"\1", word[1])
            quoted_to = len(meant)
        elif word := _UNQUOTED.match(text, position):
            if "@" in word[0]:
                at = len(meant) + word[0].rindex("@")
            meant += word[0]
        elif text[position] == "[" and 0 <= at == len(meant) - 1:
            return _address_of(meant[:at], _literal(text[position:]))
        else:
            raise ValueError("a character that must be quoted")
        position = word.end()
    if at < 0:
        return _address_of(meant, "")
    if quoted_to > at:
        raise ValueError("a quoted domain")
    return _address_of(meant[:at], _domain(meant[at + 1 :]))


def _address_of(local: str, domain: str) -> Address:
    if not local:
        raise ValueError("no local part")
    return Address(local, domain)


def _domain(text: str) -> str:
    """As everything behind us compares it (``canonical_domain``). ValueError.

    Hyphens and underscores are taken anywhere, as Postfix takes them: there are machines named so.
    """
    if len(text) > MAX_DOMAIN + 1:
        raise ValueError("a domain too long")
    text = canonical_domain(text)
    if len(text) > MAX_DOMAIN or not all(map(_LABEL.match, text.split("."))):
        raise ValueError("not a domain")
    return text


def _literal(text: str) -> str:
    """``[192.168.1.5]`` or ``[IPv6:fd00::5]``, the address in its shortest form. ValueError."""
    if not text.endswith("]") or "%" in text:
        raise ValueError("not an address literal")
    inner = text[1:-1]
    if inner[:5].upper() == "IPV6:":
        return f"[IPv6:{ipaddress.IPv6Address(inner[5:])}]"
    return f"[{ipaddress.IPv4Address(inner)}]"
