"""What stands in a line of an alias file (aliases(5)), in the files that it includes, and in a .forward. Text in, values out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lanmail.address import Address, canonical_domain

_TOKEN = re.compile(
    r"""(?P<space>\s+) | (?P<comma>,) | (?P<bracket>[<>])
    | "(?P<quoted>(?:[^"\\]|\\.)*)" | \\(?P<escaped>.) | \((?P<comment>(?:[^()\\]|\\.)*)\)
    | (?P<plain>[^\s,<>"\\()]+) | (?P<astray>.)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPED = re.compile(r"\\(.)")
_DOMAIN = re.compile(r"[\w.-]+\Z|\[[0-9A-Za-z.:]+\]\Z")
_QUOTED_NAME = re.compile(r'\s*"((?:[^"\\]|\\.)*)"\s*:')
_PLAIN_NAME = re.compile(r'\s*([^":]*):')
# A member's address is written into a Delivered-To line, and RFC 5322, 2.1.1 ends those at 998 octets (as smtp/grammar.py).
_LONGEST_ADDRESS = 900
MAX_FORWARDS = 500
"""Members of one .forward. Whoever writes to more people has a list, which is the alias file's."""


@dataclass(frozen=True, slots=True)
class Member:
    """One address of an alias. verbatim: written ``\\ann``, and means the mailbox, whatever alias there is of that name."""

    address: Address
    verbatim: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """One word of a list, without its quotes and comments: an address, a file, a program, ``:include:``.

    at: where the last ``@`` outside quotes stands, -1 for nowhere. spaced: it has a space outside quotes.
    """

    text: str
    at: int = -1
    verbatim: bool = False
    spaced: bool = False

    def member(self) -> Member:
        """ValueError, with the reason, for what is no address."""
        local, domain = (self.text, "") if self.at < 0 else (self.text[: self.at], self.text[self.at + 1 :])
        if self.spaced:
            raise ValueError("not an address; is a comma missing?")
        # A user's .forward is the text of somebody who may do less than we: no line end, no terminal's command goes into a header.
        if not local or (self.at >= 0 and not _DOMAIN.match(domain)) or not self.text.isprintable():
            raise ValueError("not an address")
        if len(self.text.encode("utf-8", "replace")) > _LONGEST_ADDRESS:
            raise ValueError("an address too long")
        return Member(Address(local, canonical_domain(domain)), self.verbatim)


@dataclass(frozen=True, slots=True)
class Forward:
    """What a user's .forward says. name: of the file, ``.forward`` or ``.forward+tag``.

    discards: ``/dev/null`` is in it. keeps: so is something that is not followed, and the mailbox gets the mail as well.
    problems: the lines that are not followed, each ``line: what: why``.
    """

    name: str
    members: tuple[Member, ...]
    discards: bool = False
    keeps: bool = False
    problems: tuple[str, ...] = ()


def forward(name: str, text: str) -> Forward:
    """Read a .forward: lines like the right side of an alias. What is no address is a problem, and is not followed."""
    members: dict[Member, None] = {}
    problems: list[str] = []
    discards = False
    # Whoever wrote the file decides how long this takes, on the event loop; so nothing is read behind the last that may count.
    for count, (number, target) in enumerate(_forward_targets(text, problems)):
        if count >= MAX_FORWARDS:
            problems.append(
                f"{number}: {target.text[:60]}: left out with the rest, as a .forward has at most {MAX_FORWARDS} members"
            )
            break
        if target.text == "/dev/null":
            discards = True
            continue
        try:
            members[_forward_member(target)] = None
        except ValueError as reason:
            problems.append(f"{number}: {target.text[:60]}: {reason}")
    return Forward(name, tuple(members), discards, bool(problems), tuple(problems))


def _forward_targets(text: str, problems: list[str]) -> Iterator[tuple[int, Target]]:
    """Each with the number of its line. A line that breaks off is a problem; behind too many of these nothing is read."""
    for number, line in enumerate(text.split("\n"), 1):
        if len(problems) >= MAX_FORWARDS:
            return
        if line.lstrip().startswith("#"):
            continue
        try:
            for target in targets(line):
                yield number, target
        except ValueError as reason:
            problems.append(f"{number}: {reason}")


def _forward_member(target: Target) -> Member:
    if target.text.startswith("|"):
        raise ValueError("a program is not run")
    if target.text.startswith("/"):
        raise ValueError("a file is not written")
    if target.text.startswith(":include:"):
        raise ValueError("a file is not included here")
    return target.member()


def parted(line: str) -> tuple[str, str]:
    """An alias's name, as it is looked up, and the list behind its colon. ValueError, with the reason."""
    if found := _QUOTED_NAME.match(line):
        name = _ESCAPED.sub(r"\1", found[1])
    elif found := _PLAIN_NAME.match(line):
        name = found[1].strip()
        if "@" in name:
            raise ValueError(f'"{name}": an alias is a name without a domain')
    else:
        raise ValueError('expected "name: address, address"')
    if not name:
        raise ValueError("a name is missing before the colon")
    return name.casefold(), line[found.end() :]


def targets(text: str) -> Iterator[Target]:
    """The words of a list with commas, one after the other. ValueError where a quote or a comment does not end."""
    word = _Word()
    for token in _TOKEN.finditer(text):
        match token.lastgroup:
            case "comma":
                yield from word.taken()
                word = _Word()
            case "space":
                word.space = bool(word.text)
            case "bracket":
                # A person's name, and the address in brackets behind it.
                if token[0] == "<":
                    word = _Word()
                word.closed = token[0] == ">"
            case "quoted":
                word.add(_ESCAPED.sub(r"\1", token["quoted"]))
            case "escaped":
                word.verbatim = word.verbatim or not word.text
                word.add(token["escaped"])
            case "plain":
                if not word.closed and "@" in token["plain"]:
                    word.at = len(word.text) + token["plain"].rindex("@")
                word.add(token["plain"])
            case "astray":
                raise ValueError(f"{token[0]} without its other half")
    yield from word.taken()


class _Word:
    def __init__(self) -> None:
        self.text = ""
        self.at = -1
        self.verbatim = False
        self.closed = False  # behind the bracket that ends an address
        self.space = False  # a space was read behind the text
        self._spaced = False

    def add(self, text: str) -> None:
        if self.closed:
            return
        if self.space:
            self.text += " "
            self.space, self._spaced = False, True
        self.text += text

    def taken(self) -> Iterator[Target]:
        if self.text:
            yield Target(self.text, self.at, self.verbatim, self._spaced)
