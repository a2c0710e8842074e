"""Colleagues in one process: what is asked is answered at once, through JSON, as between processes."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from lanmail.status import DeliveryFailure, Status, TemporaryFailure

MOST = 256 * 1024

Answerer = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class Switchboard:
    """down: numbers of workers that do not answer."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.down: set[int] = set()
        self.answerers: dict[tuple[int, str], Answerer] = {}
        self.asked: list[tuple[str, dict[str, Any], int | None]] = []

    def desk(self, number: int) -> Desk:
        """interfaces.IColleagues of that worker; 0: the one who started them."""
        return Desk(self, number)


class Desk:
    def __init__(self, switchboard: Switchboard, number: int) -> None:
        self.number = number
        self.count = switchboard.count
        self._switchboard = switchboard

    async def ask(self, kind: str, payload: dict[str, Any], to: int | None = None) -> list[tuple[int, dict[str, Any]]]:
        board = self._switchboard
        board.asked.append((kind, payload, to))
        others = [one for one in range(1, board.count + 1) if one != self.number] if to is None else [to]
        answers = []
        for number in others:
            if number in board.down or (number, kind) not in board.answerers:
                raise TemporaryFailure(Status(451, "4.3.0", f"worker {number} does not answer"))
            try:
                answer = await board.answerers[number, kind](_carried(payload))
            except DeliveryFailure as failure:
                raise TemporaryFailure(failure.status) from failure
            answers.append((number, _carried(answer)))
        return answers

    def answer(self, kind: str, answerer: Answerer) -> None:
        self._switchboard.answerers[self.number, kind] = answerer


def _carried(said: dict[str, Any]) -> dict[str, Any]:
    line = json.dumps(said)
    assert len(line) <= MOST, f"{len(line)} octets"
    carried: dict[str, Any] = json.loads(line)
    return carried
