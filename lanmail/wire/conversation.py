"""One conversation: bytes in, events out, answers in, bytes out, and strictly one thing at a time."""

from __future__ import annotations

from enum import Enum
from typing import Generic, TypeVar

from lanmail.wire.lines import LineBuffer

Event = TypeVar("Event")

# A well-behaved client pipelines a few kilobytes. Past this we stop reading from it until it has been answered.
INPUT_HIGH_WATER = 64 * 1024
# What is read at once from a client in the middle of a large text: each read is a turn of the event loop, and all that a piece costs.
LARGE_READ = 256 * 1024
# Replies that pile up within one turn, because nobody had to think about them (NOOP, NOOP, NOOP ...).
OUTPUT_HIGH_WATER = 64 * 1024


class Turn(Enum):
    """What a conversation did with its input when that led to no event."""

    ANSWERED = "answered by itself; there may be more"
    STARVED = "the next command is not complete"


class Conversation(Generic[Event]):
    """The order of a conversation, which is the same for SMTP and POP3; what is said is for the subclass.

    Feed it with ``receive``; take the next event with ``next_event``; answer it with a method of the subclass, which ends in ``_answered``;
    send what ``output`` gives. While an answer is outstanding ``next_event`` gives None: whatever the client pipelines
    meanwhile waits its turn, so replies never change order. Nothing here blocks, waits or knows what time it is.
    """

    __slots__ = (
        "_awaiting",
        "_input",
        "_output",
        "_output_size",
        "closing",
        "output_limit",
        "progress",
    )

    def __init__(self) -> None:
        self._input = LineBuffer()
        self._output: list[bytes] = []
        self._output_size = 0
        self._awaiting = False
        self.closing = False
        """Nothing will be said or understood any more: send what is left and close."""
        self.progress = 0
        """Grows with everything that a client has finished saying: from then on its time begins anew (rim.py)."""
        self.output_limit = OUTPUT_HIGH_WATER
        """Octets of answers of one turn, past which they are sent before anything else is understood."""

    # what the rim does

    def receive(self, data: bytes) -> None:
        if not self.closing:
            self._input.feed(data)

    def next_event(self) -> Event | None:
        """The next thing somebody else must answer; None when there is none now.

        None means one of: more input is needed, an answer is outstanding, the conversation is over, or so much output
        has gathered that it should be sent first (``congested``).
        """
        while not (self._awaiting or self.closing or self.congested):
            step = self._advance()
            if step is Turn.STARVED:
                return None
            if self._is_progress:
                self.progress += 1
            if not isinstance(step, Turn):
                self._awaiting = True
                return step
        return None

    def output(self) -> bytes:
        """What is to be sent now; empty when nothing is."""
        data = b"".join(self._output)
        self._output.clear()
        self._output_size = 0
        return data

    @property
    def awaiting(self) -> bool:
        """An event was handed out and not answered yet: it is our turn, not the client's."""
        return self._awaiting

    @property
    def congested(self) -> bool:
        return self._output_size > self.output_limit

    @property
    def full(self) -> bool:
        """So much input waits that the rim should stop reading."""
        return len(self._input) > INPUT_HIGH_WATER

    @property
    def text_octets(self) -> int | None:
        """How much has come of a text whose length only the client knows (a message); None where none is coming."""
        return None

    @property
    def in_command(self) -> bool:
        """Something that the client began is not finished (a message is coming in); a stop should let it end."""
        return self._awaiting

    # what the rim says of its own accord; each protocol has its words

    def greet(self) -> None:
        raise NotImplementedError

    def time_out(self) -> None:
        """The client was silent too long: say so and close."""
        raise NotImplementedError

    def shut_down(self) -> None:
        """The service stops: say so and close."""
        raise NotImplementedError

    def fail(self) -> None:
        """Something of ours broke while an event was outstanding (it has been logged): answer it "try again later"."""
        raise NotImplementedError

    # for the subclass

    def _advance(self) -> Event | Turn:
        """Understand the next piece of input."""
        raise NotImplementedError

    @property
    def _is_progress(self) -> bool:
        """Whether what was just understood ends something, so that the client's time begins anew."""
        return True

    def _send(self, data: bytes) -> None:
        self._output.append(data)
        self._output_size += len(data)

    def _answered(self) -> None:
        assert self._awaiting, "an answer to nothing"
        self._awaiting = False

    def _close(self) -> None:
        self.closing = True
        self._awaiting = False
        self._input.discard()
