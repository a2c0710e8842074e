"""What a client logs in with, as cred wants it: name and password, and where it says so."""

from __future__ import annotations

import hmac

from twisted.cred.credentials import IUsernamePassword
from zope.interface import implementer

from lanmail.interfaces import Login


@implementer(IUsernamePassword)
class LoginCredentials:
    """A name and a password in octets as they came, and the Login they came with.

    Its repr and str do not show the password: what is logged by accident must not tell it.
    """

    def __init__(self, username: bytes, password: bytes, login: Login) -> None:
        self.username = username
        self.password = password
        self.login = login

    def checkPassword(self, password: bytes) -> bool:
        """For checkers that keep passwords themselves, such as Twisted's ``file`` and ``memory``."""
        return hmac.compare_digest(self.password, password)

    def __repr__(self) -> str:
        return f"<LoginCredentials {self.username!r} by {self.login.protocol} from {self.login.peer.host}>"
