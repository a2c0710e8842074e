"""Who answers ``lanmail queue``: the running service, through its control socket, or with no service running the journal itself."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from lanmail.admin.owner import NotAllowed, become_owner
from lanmail.admin.stopped import journal_asked
from lanmail.config.parameters import Settings
from lanmail.queue.questions import LONGEST_ANSWER, Question
from lanmail.queue.reach import Reach
from lanmail.spool.journal import JournalTrouble
from lanmail.state import CONTROL, AnotherRuns, StateTrouble
from lanmail.status import DeliveryFailure

Ask = Callable[[Question], Iterator[dict[str, Any]]]
"""Gives the lines of an answer as they come, the last with ``ok``. Raises CannotAsk."""

# Seconds for the next line of an answer: a journal on a slow disk may have a large transaction under way.
PATIENCE = 60.0
# A service that starts has the lock before its socket, and one that stops loses the socket first. So many tries, so many seconds apart.
TRIES = 20
PAUSE = 0.25


class CannotAsk(Exception):
    """There is no answer; the text says why, and what to do."""


class _NobodyThere(CannotAsk):
    """No service listens at the socket."""

    def __init__(self) -> None:
        super().__init__("the service has stopped meanwhile; try again")


@contextmanager
def asked(
    settings: Settings, *, patience: float = PATIENCE, sleep: Callable[[float], None] = time.sleep
) -> Iterator[Ask]:
    """Raises CannotAsk, with a sentence for an ordinary user too. patience: seconds without a word from the service."""
    service = _Service(settings, patience)
    for attempt in range(TRIES):
        if attempt:
            sleep(PAUSE)
        try:
            for _ in service.ask(Question("ping")):
                pass
        except _NobodyThere:
            pass
        else:
            yield service.ask
            return
        try:
            with journal_asked(settings) as answer:
                yield lambda question: _understood(answer(question))
            return
        except AnotherRuns as error:
            holder = error.pid
        except (NotAllowed, JournalTrouble, StateTrouble) as error:
            raise CannotAsk(str(error)) from error
    raise CannotAsk(
        f"a lanmail{f' (pid {holder})' if holder else ''} has the queue, but does not answer at {service.path}; its log may say why"
    )


class _Service:
    def __init__(self, settings: Settings, patience: float) -> None:
        self._folder = os.path.join(settings.queue_directory, "lanmail")
        self.path = os.path.join(self._folder, CONTROL)
        self._patience = patience

    def ask(self, question: Question) -> Iterator[dict[str, Any]]:
        """Raises CannotAsk, _NobodyThere."""
        with closing(self._connected()) as connection, connection.makefile("rb") as heard:
            try:
                connection.sendall(question.line())
            except OSError:
                pass  # it may have told why before it closed
            yield from _understood(self._lines(heard))

    def _connected(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        connection.settimeout(self._patience)
        reach = Reach(self.path)
        try:
            connection.connect(reach.open())
        except OSError as error:
            connection.close()
            raise self._why_not(error) from error
        finally:
            reach.close()
        return connection

    def _why_not(self, error: OSError) -> Exception:
        if isinstance(error, (FileNotFoundError, NotADirectoryError, ConnectionRefusedError)):
            return _NobodyThere()
        if isinstance(error, PermissionError):
            try:
                become_owner(self._folder)
            except NotAllowed as reason:
                return CannotAsk(str(reason))
        if isinstance(error, BlockingIOError):
            return CannotAsk("too many are asking at once; try again")
        return CannotAsk(f"{self.path}: {error.strerror or 'no answer'}")

    def _lines(self, heard: Any) -> Iterator[bytes]:
        while True:
            try:
                line = heard.readline(LONGEST_ANSWER)
            except TimeoutError:
                raise CannotAsk(
                    f"the service is silent at {self.path} for {self._patience:.0f} s; its log may say why"
                ) from None
            except OSError as error:
                raise CannotAsk(f"{self.path}: {error.strerror}") from error
            if not line:
                return
            yield line


def _understood(lines: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    """Up to the line with ``ok``. Raises CannotAsk where there is another end."""
    try:
        for line in lines:
            try:
                said = json.loads(line)
            except ValueError:
                raise CannotAsk("the answer makes no sense") from None
            if not isinstance(said, dict):
                raise CannotAsk("the answer makes no sense")
            if "error" in said:
                raise CannotAsk(str(said["error"]))
            yield said
            if "ok" in said:
                return
    except DeliveryFailure as failure:
        raise CannotAsk(failure.status.text) from failure
    raise CannotAsk("the service ended before its answer did; it may have done what was asked")
