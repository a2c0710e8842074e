"""Whom a From or Sender field names (RFC 5322, 3.4 and 3.6.2): a reader that would rather say "unclear" than guess.

Python's own (email.utils, email.headerregistry) guess: they are made to show what somebody wrote, and of a broken field they make one of
several meanings; a mail program may choose another, and show a sender that was never asked about (CVE-2023-27043 was such a difference).
Here a field is only checked, so what can be read in two ways is refused, in words. That takes time linear in the field, which is bounded.

Taken as they are meant: comments, folded lines, quoted strings, display names in any charset or as encoded words (they are not decoded:
nothing within them is an address), groups, empty members, white space within an address, UTF-8 in addresses (RFC 6532).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise

from lanmail.address import Address, canonical_domain

MAX_FIELD = 4096
"""Octets of a field. RFC 5322 ends a line at 998, and no letter is written by so many hands that it needs five of them."""
MAX_AUTHORS = 50

_SPACE = re.compile(rb"[ \t\r\n]+")
_COMMENT = re.compile(rb"(?s)[^()\\]++|\\.|[()]")
_QUOTED = re.compile(rb'(?s)"((?:[^"\\]|\\.)*+)"')
_LITERAL = re.compile(rb"\[[^\[\]\\\x00-\x20\x7f]*+\]")
# RFC 5322's atext, the dot, and everything that is not ASCII.
_ATOM = re.compile(rb'[^\x00-\x20()<>\[\]:;@\\,"\x7f]++')
_ESCAPED = re.compile(rb"(?s)\\(.)")
_SPECIAL = b"<>@,:;"


class Unclear(ValueError):
    """The field does not say whom it names; the text says why, in the middle of a sentence."""


class _Token:
    """``kind``: one of ``<>@,:;``, or "atom", "quoted", "literal"; ``text`` is what it means, without quotes."""

    __slots__ = ("kind", "text")

    def __init__(self, kind: str, text: bytes) -> None:
        self.kind = kind
        self.text = text


def originators(field: bytes) -> list[Address]:
    """Every address that somebody may see in the value of a field, each once, in its order; at least one. Unclear.

    An address without a domain has none. A display name that is an address itself, without quotes, must be the same one: there are
    programs that take the first for the address.
    """
    if len(field) > MAX_FIELD:
        raise Unclear(f"it has more than {MAX_FIELD} octets")
    found: dict[tuple[str, str], Address] = {}
    for element in _elements(list(_tokens(field))):
        for address in _addresses(element):
            found.setdefault(address.key, address)
    if not found:
        raise Unclear("it names nobody")
    if len(found) > MAX_AUTHORS:
        raise Unclear(f"it names more than {MAX_AUTHORS}")
    return list(found.values())


def _tokens(field: bytes) -> Iterator[_Token]:
    position = 0
    while position < len(field):
        char = field[position : position + 1]
        if space := _SPACE.match(field, position):
            position = space.end()
        elif char == b"(":
            position = _end_of_comment(field, position)
        elif char == b'"':
            quoted = _QUOTED.match(field, position)
            if quoted is None:
                raise Unclear('a " has no other')
            yield _Token("quoted", _ESCAPED.sub(rb"\1", quoted[1]))
            position = quoted.end()
        elif char in _SPECIAL:
            yield _Token(char.decode(), char)
            position += 1
        elif word := _ATOM.match(field, position):
            yield _Token("atom", word[0])
            position = word.end()
        elif literal := _LITERAL.match(field, position):
            yield _Token("literal", literal[0])
            position = literal.end()
        else:
            raise Unclear(f"a {ascii(char.decode('latin-1'))[1:-1]} stands where none may")


def _end_of_comment(field: bytes, position: int) -> int:
    depth = 0
    while piece := _COMMENT.match(field, position):
        position = piece.end()
        depth += {b"(": 1, b")": -1}.get(piece[0], 0)
        if not depth:
            return position
    raise Unclear("a ( has no )")


def _elements(tokens: list[_Token]) -> Iterator[list[_Token]]:
    """The parts between commas, groups opened: ``Team: ann@here, bob@here;`` are two."""
    element: list[_Token] = []
    within = in_group = after_group = False  # within: < and >
    for token in tokens:
        if token.kind in "<>":
            if within == (token.kind == "<"):
                raise Unclear("< and > do not match")
            within = not within
        if after_group and token.kind != ",":
            raise Unclear("something stands behind a group")
        after_group = False
        if within or token.kind not in (",", ":", ";"):
            element.append(token)
            continue
        if token.kind == ":":
            if in_group or not element or any(word.kind not in ("atom", "quoted") for word in element):
                raise Unclear("a : stands where none may")
            in_group = True
        else:
            yield element
        if token.kind == ";":
            if not in_group:
                raise Unclear("a ; stands where none may")
            in_group, after_group = False, True
        element = []
    if in_group:
        raise Unclear("a group has no ; at its end")
    if within:
        raise Unclear("< and > do not match")
    yield element


def _addresses(element: list[_Token]) -> Iterator[Address]:
    if not element:
        return  # RFC 5322, 4.4: nothing between two commas
    kinds = [token.kind for token in element]
    if "<" not in kinds:
        yield _address(element)
        return
    opened = kinds.index("<")
    if kinds[-1] != ">" or kinds.count("<") > 1:
        raise Unclear("something stands behind the > of an address")
    address = _address(element[opened + 1 : -1])
    if any(token.kind not in ("atom", "quoted") for token in element[:opened]) and not _says(element[:opened], address):
        raise Unclear("a name with an @ or [ in it must stand in quotes")
    yield address


def _says(phrase: list[_Token], address: Address) -> bool:
    try:
        return _address(phrase).key == address.key
    except Unclear:
        return False


def _address(tokens: list[_Token]) -> Address:
    """``local@domain``, or a local part alone. Unclear."""
    kinds = [token.kind for token in tokens]
    if not tokens:
        raise Unclear("an address is empty")
    if "@" not in kinds:
        return Address(_local(tokens))
    at = kinds.index("@")
    if kinds.count("@") > 1:
        raise Unclear("an address has more than one @")
    return Address(_local(tokens[:at]), _domain(tokens[at + 1 :]))


def _local(tokens: list[_Token]) -> str:
    if any(token.kind not in ("atom", "quoted") for token in tokens):
        raise Unclear("an address has a character that must be quoted")
    _check_joints(tokens)
    local = _text(b"".join(token.text for token in tokens))
    if not local:
        raise Unclear("an address has nothing before its @")
    return local


def _domain(tokens: list[_Token]) -> str:
    if [token.kind for token in tokens] == ["literal"]:
        return _text(tokens[0].text)
    if not tokens or any(token.kind != "atom" for token in tokens):
        raise Unclear("an address has no domain behind its @")
    _check_joints(tokens)
    try:
        return canonical_domain(_text(b"".join(token.text for token in tokens)))
    except ValueError:
        raise Unclear("an address has no domain behind its @") from None


def _check_joints(tokens: list[_Token]) -> None:
    """Two words are parts of one address only with a dot between them; otherwise they are a name without an address."""
    for first, second in pairwise(tokens):
        dotted = (first.kind == "atom" and first.text.endswith(b".")) or (
            second.kind == "atom" and second.text.startswith(b".")
        )
        if not dotted:
            raise Unclear("a name has no address behind it")


def _text(octets: bytes) -> str:
    try:
        text = unicodedata.normalize("NFC", octets.decode("utf-8"))
    except UnicodeDecodeError:
        raise Unclear("an address is not in UTF-8") from None
    # Control characters, ends of paragraphs, and what turns the direction of a line round.
    if not text.isprintable():
        raise Unclear("an address has characters that cannot be shown")
    return text
