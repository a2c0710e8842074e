"""What a client may do, by where it is and whether it speaks TLS: main.cf's rules for passwords and mail in clear."""

from __future__ import annotations

from collections.abc import Callable

from lanmail.network import Networks, Peer
from lanmail.wire.terms import LOGIN_FIRST, TLS_FIRST, Terms


class Manners:
    """offered: whether there is a certificate, and so TLS. level: ``smtpd_tls_security_level``. auth_only: ``smtpd_tls_auth_only``.

    plaintext_networks: who may send a password in clear besides this machine itself. is_device: whether a client has a line in
    the table of devices, which speak no TLS.
    """

    def __init__(
        self,
        *,
        offered: bool,
        level: str,
        auth_only: bool,
        plaintext_networks: Networks,
        is_device: Callable[[str], bool],
    ) -> None:
        self._offered = offered
        self._level = level
        self._auth_only = auth_only
        self._plaintext_networks = plaintext_networks
        self._is_device = is_device

    def smtp(self, peer: Peer) -> Terms:
        """At the port where mail from everywhere comes in."""
        if peer.tls:
            return Terms(login=True)
        first = TLS_FIRST if self._level == "encrypt" and not self._is_device(peer.host) else None
        return Terms(
            starttls=self._offered and self._level != "none",
            login=self._in_clear(peer) and not self._auth_only,
            first=first,
        )

    def submission(self, peer: Peer) -> Terms:
        """At the ports where people hand in what they wrote: nothing without a login, and no login that others can read."""
        if peer.tls:
            return Terms(login=True, mail=LOGIN_FIRST)
        if self._in_clear(peer) and not self._auth_only:
            return Terms(starttls=self._offered, login=True, mail=LOGIN_FIRST)
        return Terms(starttls=self._offered, first=TLS_FIRST)

    def pop3(self, peer: Peer) -> Terms:
        if peer.tls:
            return Terms(login=True)
        return Terms(starttls=self._offered, login=self._in_clear(peer))

    def _in_clear(self, peer: Peer) -> bool:
        """Nobody on the network can listen to what stays on this machine."""
        return peer.is_local or peer.host in self._plaintext_networks
