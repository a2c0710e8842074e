"""How often each command was given in one connection, and how often it worked: the end of Postfix's disconnect line."""

from __future__ import annotations

UNKNOWN = "UNKNOWN"
# Postfix's order.
_VERBS = ("HELO", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "VRFY", "HELP", "QUIT", UNKNOWN)


class Tally:
    """``str`` of it is ``ehlo=1 mail=1 rcpt=0/1 quit=1 commands=3/4``: where some failed, those that did not, then all."""

    __slots__ = (
        "_done",
        "_given",
    )

    def __init__(self) -> None:
        self._given: dict[str, int] = {}
        self._done: dict[str, int] = {}

    def given(self, verb: str) -> None:
        self._given[verb] = self._given.get(verb, 0) + 1

    def done(self, verb: str) -> None:
        self._done[verb] = self._done.get(verb, 0) + 1

    def __str__(self) -> str:
        counts = [(verb.lower(), self._done.get(verb, 0), self._given[verb]) for verb in _VERBS if verb in self._given]
        total = ("commands", sum(self._done.values()), sum(self._given.values()))
        return " ".join(
            f"{name}={given}" if done == given else f"{name}={done}/{given}" for name, done, given in [*counts, total]
        )
