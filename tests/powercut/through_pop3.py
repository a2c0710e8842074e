"""The whole service on what a power cut left, started from the command line, and looked at by a POP3 client."""

from __future__ import annotations

import contextlib
import json
import os
import poplib
import runpy
import signal
import sqlite3
import sys
from collections.abc import Container, Mapping

from tests.live import wait_for
from tests.powercut.letters import foreign_text, text_of
from tests.powercut.load import PASSWORD, USERS, RecordedServer
from tests.powercut.restart import keep_inodes, unsettled

# What the other program left torn may be some thousand NULs in a line, of which a client may think what it likes.
poplib._MAXLINE = 1 << 20  # type: ignore[attr-defined]


def fetched(
    server: RecordedServer, journal: str, inodes: Mapping[int, int], other_device: bool, begun: Container[str]
) -> list[str]:
    """What is wrong in what the client sees, in sentences. The service has delivered everything and is stopped afterwards.

    begun: users in whose mailbox the other program was writing when the power went: one letter there may be torn.
    """
    told = os.path.join(server.folder, "inodes")
    with open(told, "w", encoding="ascii") as file:
        json.dump([list(inodes.items()), other_device], file)
    faults = []
    user = "nobody yet"
    try:
        server.start([sys.executable, "-m", "tests.powercut.through_pop3", told, *server.command()[3:]])
        for user in (
            USERS
        ):  # before all is delivered: a fetch must not be in the way of it, though it may find the mailbox locked
            with contextlib.suppress(poplib.error_proto):
                _session(server.pop3, user)
        wait_for(lambda: not unsettled(journal, hopeful=True), server.describe, server.process)
        for user in USERS:
            strange = _session(server.pop3, user)
            faults += [f"{user}: POP3 shows {seen}" for seen in strange[user in begun :]]
    except (AssertionError, OSError, poplib.error_proto, sqlite3.Error) as error:
        faults.append(f"{user}: {error!r}"[:300])
    finally:
        status = server.stop()
    return faults if status in (0, -signal.SIGTERM) else [*faults, f"the service ended with status {status}"]


def _session(port: int, user: str) -> list[str]:
    """Whatever is not, line for line, what was sent. What the other program left torn may hang on one, behind its end."""
    strange = []
    pop3 = poplib.POP3("127.0.0.1", port, timeout=30)
    try:
        pop3.user(user)
        pop3.pass_(PASSWORD)
        for number in range(1, pop3.stat()[0] + 1):
            text = b"\r\n".join(pop3.retr(number)[1]) + b"\r\n"
            token = text.partition(b"Subject: ")[2].partition(b"\r\n")[0].decode("ascii", "replace")
            if token.startswith("foreign-"):
                whole = foreign_text(token).partition(b"\n")[2].rstrip(b"\n").replace(b"\n", b"\r\n")
            else:
                whole = text_of(token) if token.count("-") == 2 else b"?"
            if whole not in text:
                strange.append(f"a letter that is not {token or 'any'}")
        pop3.quit()
    finally:
        pop3.close()
    return strange


def main() -> None:
    told = sys.argv.pop(1)
    with open(told, encoding="ascii") as file:
        inodes, other_device = json.load(file)
    keep_inodes(dict(inodes), other_device)
    runpy.run_module("twisted", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
