"""Who somebody is, in cred's words: a name and a password become the canonical name of a user, or UnauthorizedLogin.

The refusal is the same, and as late, for a wrong password, an unknown name, a name that can be nobody's, an account that is locked or has
expired, and one whose uid is outside ``user_ids``: it is one line of code. What cannot be
known now is TemporaryFailure (454 4.7.0), and is never counted as a failure of the client's.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, maybeDeferred
from zope.interface import implementer

from lanmail.accounts.credentials import LoginCredentials
from lanmail.accounts.hashes import LONGEST_PASSWORD
from lanmail.accounts.names import login_name
from lanmail.accounts.sources import Passwords
from lanmail.accounts.throttle import Throttle
from lanmail.interfaces import Login, Report, User, Users, nothing_to_say
from lanmail.network import Peer
from lanmail.status import Status, TemporaryFailure

NOT_NOW = Status(454, "4.7.0", "Temporary authentication failure, try again later")

_LONGEST_SHOWN = 100
"""Characters of a name in the log; no login name is as long."""

_UNSAID = Login("", Peer(""))
"""Of credentials that some other program made."""


@implementer(ICredentialsChecker)
class PasswordChecker:
    """Checks what a client logs in with, and answers failures late.

    passwords: an AccountList, RememberedLogins over one, or ForeignPasswords. domains: ours, lower case; a name may be written with one
    of them behind it. report: told of each refusal at once, in the words that etc/fail2ban/filter.d/lanmail.conf looks for.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(
        self, passwords: Passwords, domains: Collection[str], throttle: Throttle, report: Report = nothing_to_say
    ) -> None:
        self._passwords = passwords
        self.domains = frozenset(domains)
        self._throttle = throttle
        self._report = report

    def requestAvatarId(self, credentials: IUsernamePassword) -> Deferred[bytes | tuple[()]]:
        """The canonical name; or UnauthorizedLogin, or TemporaryFailure (454 4.7.0)."""
        return Deferred.fromCoroutine(self._checked(credentials))

    async def _checked(self, credentials: IUsernamePassword) -> bytes | tuple[()]:
        began = self._throttle.now()
        login: Login = getattr(credentials, "login", _UNSAID)
        name, password = login_name(credentials.username, self.domains), credentials.password
        if not 0 < len(password) <= LONGEST_PASSWORD or b"\0" in password:
            name, password = None, b"-"  # not simply a no, which under load would come sooner than a wrong password's
        try:
            user = await self._passwords.user_of(name, password, login)
        except TemporaryFailure as failure:
            # Whatever it was (a name service, PAM, a file): in answer to a login it is said in a login's words (RFC 4954, 4).
            raise TemporaryFailure(NOT_NOW) from failure
        if user is None:
            # The address stands before what the client wrote, so that nobody can write another's into the line.
            self._report(
                "login refused: client={host}, service={service}, user=<{name}>",
                host=login.peer.host or "local",
                service=login.protocol or "other",
                name=_shown(credentials.username),
            )
            await self._throttle.failed(began, login.peer.block, (name or "").lower())
            raise UnauthorizedLogin()
        return user.name.encode("ascii")


def _shown(name: bytes | str) -> str:
    text = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name
    return text[:_LONGEST_SHOWN]


class ForeignPasswords:
    """Passwords by somebody else's checkers (Twisted's ``--auth``), for our users.

    Each is given the canonical name, the first that takes the password decides, and the name that it answers with is looked
    up again: it can let nobody in who has no mailbox here. ``UnauthorizedLogin`` is its no; anything else that it raises is
    trouble, and the login is told to come again.
    """

    def __init__(
        self, checkers: Sequence[ICredentialsChecker], users: Users, domains: Collection[str], report: Report
    ) -> None:
        self._checkers = tuple(checkers)
        self._users = users
        self.domains = frozenset(domains)
        self._report = report

    async def user_of(self, name: str | None, password: bytes, login: Login) -> User | None:
        """Passwords. How long a no takes is the checker's; the throttle hides it."""
        user = None if name is None else await self._users.find(name)
        if user is None:
            return None
        credentials = LoginCredentials(user.name.encode("ascii"), password, login)
        for checker in self._checkers:
            avatar = await self._asked(checker, credentials)
            known = login_name(avatar, self.domains) if isinstance(avatar, bytes | str) else None
            if known is not None:
                return await self._users.find(known)
        return None

    async def _asked(self, checker: ICredentialsChecker, credentials: LoginCredentials) -> object:
        try:
            return await maybeDeferred(checker.requestAvatarId, credentials)
        except UnauthorizedLogin:
            return None
        except TemporaryFailure:
            raise
        except Exception as error:
            self._report(
                "warning: the checker {checker} failed: {error!r}", checker=type(checker).__name__, error=error
            )
            raise TemporaryFailure(NOT_NOW) from error
