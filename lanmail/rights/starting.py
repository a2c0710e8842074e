"""The root parent, started: a fresh process, and the two channels to it.

Before any port is bound and any thread runs, by a process that is root. It outlives twistd's way into the background, since all it knows of
us is its channels; and it is not our child then, so that it has died is seen by their end alone.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from dataclasses import dataclass

from lanmail.rights import channel, parent
from lanmail.rights.channel import Noise
from lanmail.rights.duties import Duties

_PATIENCE = 20.0  # seconds until it has read its program from a slow disk


class NoParent(Exception):
    """It cannot be started. The text is a sentence for whoever starts the server."""


@dataclass(frozen=True, slots=True)
class Channels:
    """To the parent: ``loop`` for launching.Launching, ``threads`` for asking.Asking. It ends when either is closed."""

    loop: socket.socket
    threads: socket.socket
    process: subprocess.Popen[bytes]

    def close(self) -> None:
        """The parent ends, and its helpers."""
        self.loop.close()
        self.threads.close()


def start(duties: Duties, *, program: str = parent.__file__) -> Channels:
    """Start it, and wait until it is ready. NoParent."""
    loop, its_loop = channel.pair()
    threads, its_threads = channel.pair()
    numbers = its_loop.fileno(), its_threads.fileno()
    with its_loop, its_threads:
        try:
            # Nothing is inherited but the two: no other socket, no environment, nothing of the terminal.
            process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-I", "-S", program, *map(str, numbers)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=numbers,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
            )
        except OSError as error:
            loop.close()
            threads.close()
            raise NoParent(f"cannot start {program}: {error.strerror}") from error
    channels = Channels(loop, threads, process)
    loop.settimeout(_PATIENCE)
    try:
        channel.send(loop, parent.DUTIES, duties.text())
        answer = channel.receive(loop)
        answer.close()
        if answer.kind != parent.READY:
            raise Noise(b" ".join(answer.fields).decode("utf-8", "replace"))
    except (EOFError, Noise, OSError, ValueError) as error:
        channels.close()
        raise NoParent(f"the guard's root parent does not start: {error or 'it ended'}") from error
    return channels


def pam_folder() -> str:
    """What the ``pam`` module is imported from, for Duties; empty where python-pam is not installed."""
    spec = importlib.util.find_spec("pam")
    return os.path.dirname(os.path.dirname(spec.origin)) if spec is not None and spec.origin else ""


def import_folders() -> tuple[str, ...]:
    """What this process imports from, for Duties."""
    return tuple(folder for folder in sys.path if folder.startswith("/"))
