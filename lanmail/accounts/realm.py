"""What somebody gets who logged in, or did not: the avatars of both protocols, from one realm behind one Portal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.cred.checkers import ANONYMOUS, AllowAnonymousAccess, ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred
from twisted.mail.interfaces import IMailboxPOP3, IMessageDelivery, IMessageDeliveryFactory
from zope.interface import implementer

from lanmail.interfaces import IMaildrop, ITransactions, User, Users

Transactions = Callable[[User | None], ITransactions]
OpenMaildrop = Callable[[User], Awaitable[IMaildrop]]
Avatar = tuple[Any, Any, Callable[[], None]]


@implementer(IRealm)
class MailRealm:
    """Makes an avatar for a canonical name: transactions for SMTP, an open maildrop for POP3.

    transactions: makes the SMTP avatar of a user, or the anonymous one for None.
    open_maildrop: opens a user's mailbox for this login alone; what it raises (MaildropInUse, TemporaryFailure) is what the
        login raises.
    """

    def __init__(self, users: Users, transactions: Transactions, open_maildrop: OpenMaildrop) -> None:
        self._users = users
        self._transactions = transactions
        self._open_maildrop = open_maildrop

    def requestAvatar(self, avatarId: bytes | tuple[()], mind: object, *interfaces: Any) -> Deferred[Avatar]:
        """The first of ``interfaces`` that we have; the third of the answer is called when the session is over.

        Raises UnauthorizedLogin for a user who is gone meanwhile, and for anybody anonymous who wants more than to send;
        NotImplementedError (cred's way) where none of the interfaces is ours.
        """
        return Deferred.fromCoroutine(self._avatar(avatarId, interfaces))

    async def _avatar(self, avatarId: bytes | tuple[()], interfaces: tuple[Any, ...]) -> Avatar:
        user = None if avatarId is ANONYMOUS else await self._known(avatarId)
        for wanted in interfaces:
            if wanted in (ITransactions, IMessageDelivery):
                transactions = self._transactions(user)
                return wanted, transactions, transactions.reset
            if wanted is IMessageDeliveryFactory:
                return wanted, _Deliveries(user, self._transactions), _nothing
            if wanted in (IMaildrop, IMailboxPOP3):
                if user is None:
                    raise UnauthorizedLogin()
                maildrop = await self._open_maildrop(user)
                return wanted, maildrop, maildrop.close
        raise NotImplementedError(f"the mail realm has no avatar for {interfaces!r}")

    async def _known(self, avatarId: bytes | tuple[()]) -> User:
        # The checker knew this name a moment ago, so this is an answer from memory. A name it made up is nobody.
        name = avatarId.decode("ascii", "replace") if isinstance(avatarId, bytes) else ""
        user = await self._users.find(name)
        if user is None:
            raise UnauthorizedLogin()
        return user


@implementer(IMessageDeliveryFactory)
class _Deliveries:
    """For Twisted's own ESMTP, which asks for a new delivery at each MAIL."""

    def __init__(self, user: User | None, transactions: Transactions) -> None:
        self._user = user
        self._transactions = transactions

    def getMessageDelivery(self) -> ITransactions:
        return self._transactions(self._user)


def _nothing() -> None:
    """Logging out of what keeps nothing."""


def make_portal(realm: MailRealm, checker: ICredentialsChecker) -> Portal:
    """The one Portal of both protocols: names and passwords by ``checker``, and port 25's clients anonymous."""
    return Portal(realm, [checker, AllowAnonymousAccess()])
