"""Who somebody is, in cred's words: a name and a password become the canonical name of a user, or UnauthorizedLogin.

The refusal is the same, and as late, for a wrong password, an unknown name and a name that can be nobody's. What cannot be
known now is TemporaryFailure (454 4.7.0), and never counted as a failure of the client's.
"""

from __future__ import annotations

from collections.abc import Collection

from twisted.cred.checkers import ANONYMOUS, ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from zope.interface import implementer

from lanmail.accounts.credentials import LoginCredentials
from lanmail.accounts.hashes import LONGEST_PASSWORD
from lanmail.accounts.names import login_name
from lanmail.accounts.sources import AccountList
from lanmail.accounts.throttle import Throttle
from lanmail.interfaces import Login, User
from lanmail.network import Peer
from lanmail.status import Status, TemporaryFailure

LATER = Status(454, "4.7.0", "Temporary authentication failure, try again later")

_UNKNOWN = Login("", Peer(""))  # of credentials that some other program made


@implementer(ICredentialsChecker)
class PasswordChecker:
    """Checks names and passwords with our accounts.

    domains: ours, lower case; a name may be written with one of them behind it.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, accounts: AccountList, domains: Collection[str], throttle: Throttle) -> None:
        self._accounts = accounts
        self._domains = frozenset(domains)
        self._throttle = throttle

    def requestAvatarId(self, credentials: IUsernamePassword) -> Deferred[bytes]:
        """The canonical name; or UnauthorizedLogin, or TemporaryFailure."""
        return Deferred.fromCoroutine(self._checked(credentials))

    async def _checked(self, credentials: IUsernamePassword) -> bytes:
        began = self._throttle.now()
        name = login_name(credentials.username, self._domains)
        try:
            user = await self._find(name, credentials)
        except TemporaryFailure as failure:
            # Whatever it was (a name service, PAM, a file): in answer to a login it is said in a login's words (RFC 4954, 4).
            raise TemporaryFailure(LATER) from failure
        if user is None:
            host = getattr(credentials, "login", _UNKNOWN).peer.host
            await self._throttle.failed(began, host, (name or "").lower())
            raise UnauthorizedLogin()
        return user.name.encode("ascii")

    async def _find(self, name: str | None, credentials: IUsernamePassword) -> User | None:
        password = credentials.password
        if not 0 < len(password) <= LONGEST_PASSWORD or b"\0" in password:
            # Nobody's password. Not simply a no: that would be quicker under load than a wrong one.
            name, password = None, b"-"
        peer = getattr(credentials, "login", _UNKNOWN).peer
        return await self._accounts.verify_name(name, password, peer)


@implementer(ICredentialsChecker)
class ForeignChecker:
    """Somebody else's checker (Twisted's ``--auth``) for the password, our users for who that is.

    It is given the canonical name and the password; the name that it answers with is looked up among our users again, so it
    can let nobody in who has no mailbox here.
    """

    credentialInterfaces = (IUsernamePassword,)

    _log = Logger()

    def __init__(
        self, checker: ICredentialsChecker, accounts: AccountList, domains: Collection[str], throttle: Throttle
    ) -> None:
        self._checker = checker
        self._accounts = accounts
        self._domains = frozenset(domains)
        self._throttle = throttle

    def requestAvatarId(self, credentials: IUsernamePassword) -> Deferred[bytes]:
        """The canonical name; or UnauthorizedLogin, or TemporaryFailure."""
        return Deferred.fromCoroutine(self._checked(credentials))

    async def _checked(self, credentials: IUsernamePassword) -> bytes:
        began = self._throttle.now()
        name = login_name(credentials.username, self._domains)
        login = getattr(credentials, "login", _UNKNOWN)
        try:
            user = await self._user_of(name, credentials.password, login)
        except TemporaryFailure as failure:
            raise TemporaryFailure(LATER) from failure
        except UnauthorizedLogin:
            user = None
        except Exception as error:
            self._log.failure("the checker given with --auth failed")
            raise TemporaryFailure(LATER) from error
        if user is None:
            await self._throttle.failed(began, login.peer.host, (name or "").lower())
            raise UnauthorizedLogin()
        return user.name.encode("ascii")

    async def _user_of(self, name: str | None, password: bytes, login: Login) -> User | None:
        user = None if name is None else await self._accounts.find(name)
        if user is None or not password:
            return None
        credentials = LoginCredentials(user.name.encode("ascii"), password, login)
        avatar = await maybeDeferred(self._checker.requestAvatarId, credentials)
        if avatar is ANONYMOUS:
            return None
        known = login_name(avatar, self._domains)
        return None if known is None else await self._accounts.find(known)
