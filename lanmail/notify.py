"""What a service manager is told (sd_notify(3)): that we are up, read our configuration again, stop, and are alive.

Without a manager, NOTIFY_SOCKET is not there, and nothing is said. Nothing here waits or raises: a manager that does not listen is no
reason to serve no mail.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping


class Notices:
    """The way to the manager.

    environment: where its socket stands; it is not taken out of there. monotonic_ns: CLOCK_MONOTONIC, by which the manager tells one reload
    from another.
    """

    def __init__(
        self, environment: Mapping[str, str] = os.environ, monotonic_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self._monotonic_ns = monotonic_ns
        self.watchdog_interval = _watchdog(environment) if self._address else None
        """Seconds between two of ``alive``: half of what the manager waits. None where it does not watch."""

    def ready(self, status: str = "") -> None:
        """Up, or done with reading again."""
        self._say("READY=1", status)

    def reloading(self, status: str = "") -> None:
        """Reading again; ``ready`` must follow, whatever came of it."""
        self._say(f"RELOADING=1\nMONOTONIC_USEC={self._monotonic_ns() // 1000}", status)

    def stopping(self, status: str = "") -> None:
        """On the way out."""
        self._say("STOPPING=1", status)

    def alive(self) -> None:
        """To be called by the event loop, so that one which hangs is missed."""
        self._say("WATCHDOG=1")

    def status(self, text: str) -> None:
        """A line for ``systemctl status``."""
        self._say("", text)

    def _say(self, what: str, status: str = "") -> None:
        if self._address is None:
            return
        said = [what] if what else []
        if status:
            said.append(f"STATUS={' '.join(status.split())}")
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sock:
                sock.sendto("\n".join(said).encode("utf-8", "replace"), self._address)
        except OSError:
            pass


def _address(text: str) -> str | None:
    """As connect(2) wants it: a path, or an abstract name, which is written with an @."""
    if text.startswith("@") and len(text) > 1:
        return f"\0{text[1:]}"
    return text if text.startswith("/") else None


def _watchdog(environment: Mapping[str, str]) -> float | None:
    """The manager may watch another process of the service than us (sd_watchdog_enabled(3))."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    text = environment.get("WATCHDOG_USEC", "")
    return int(text) / 2e6 if text.isdigit() and len(text) < 19 and int(text) else None
