"""Who may send as whom: logged in, and without a login."""

from __future__ import annotations

from lanmail.address import Address
from lanmail.delivery.routes import Router
from lanmail.delivery.sender_logins import SenderLogins
from lanmail.interfaces import InThread
from lanmail.loopback import uid_behind
from lanmail.network import Peer


class Senders:
    """logins: smtpd_sender_login_maps. local_need_login: ``mynetworks_may_send_as = nobody-local``."""

    def __init__(self, router: Router, logins: SenderLogins, in_thread: InThread, *, local_need_login: bool) -> None:
        self._router = router
        self._logins = logins
        self._in_thread = in_thread
        self._local_need_login = local_need_login

    async def may_send_as(self, login: str, address: Address) -> bool:
        """Whether whoever is logged in may send as this: their own address, its tags, the aliases that lead to them, and what
        smtpd_sender_login_maps lets them have. TemporaryFailure."""
        address = self._router.completed(address)
        return login in {user.name for user in await self._router.owners(address)} or await self._logins.may_send_as(
            login, address
        )

    async def needs_login(self, address: Address, peer: Peer) -> bool:
        """Whether this is somebody's address here, as whom only they may send, and the client has not shown that it is theirs.

        Somebody's: their own, its tags, and the aliases that lead to them alone; an alias of several is nobody's in particular. The
        addresses of root (postmaster, abuse) are that too.

        From this machine itself what the system has to tell comes without a login, since neither cron nor its mailer has one: root's
        addresses may be used by any program here, and of a user's the kernel says whether the program is theirs, or root's. That holds
        for their cron jobs; it does not for a web server that writes in their name. TemporaryFailure.
        """
        if not self._local_need_login or address.is_null:
            return False
        if peer.is_local and self._router.is_roots(address):
            return False
        owners = await self._router.owners(address)
        if len(owners) != 1:
            return False
        return not peer.is_local or await self._in_thread(uid_behind, peer) not in (0, owners[0].uid)
