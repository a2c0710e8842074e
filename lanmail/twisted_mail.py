"""Twisted's smtp and pop3 modules, imported without asking DNS who we are.

``twisted.mail.smtp`` calls ``socket.getfqdn()`` while it is imported. On a network whose resolver does not answer, which is our
network on a bad day, that is half a minute of silence at every start. The name it wants is a default that we never
use (``myhostname`` is handed in), so for the length of this import it gets the kernel's.
"""

from __future__ import annotations

import socket

_getfqdn = socket.getfqdn
socket.getfqdn = lambda name="": "localhost"
try:
    from twisted.mail import pop3, smtp
finally:
    socket.getfqdn = _getfqdn

__all__ = ["pop3", "smtp"]
