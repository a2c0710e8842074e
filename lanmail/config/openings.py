"""What a configuration leaves open: who may send as whom, and whose passwords can be read on their way. In sentences."""

from __future__ import annotations

from lanmail.config.parameters import Settings
from lanmail.network import Networks

_SHOWN = 5  # networks


def openings(settings: Settings) -> list[str]:
    """One line for each of the two, whether it is open or not: whoever reads "closed" need not look for what is missing."""
    return [_senders(settings), _passwords(settings)]


def _senders(settings: Settings) -> str:
    mine = "whoever logs in sends as themselves"
    if settings.submission_header_from == "off" and (settings.submission_port or settings.submissions_port):
        mine += ", but may write anybody into the From header (submission_header_from = off)"
    if settings.mynetworks_may_send_as == "anyone":
        return f"open: without a login anybody may send as anybody here (mynetworks_may_send_as = anyone); {mine}"
    return f"closed: nobody sends without a login as somebody who has an account here (mynetworks_may_send_as = nobody-local); {mine}"


def _passwords(settings: Settings) -> str:
    networks = settings.plaintext_login_networks
    if networks.rules:
        auth_only = "; at SMTP not even they (smtpd_tls_auth_only)" if settings.smtpd_tls_auth_only else ""
        return (
            f"open: {_shown(networks)} (plaintext_login_networks) may send passwords without TLS, and everybody on the way can read"
            f" them{auth_only}"
        )
    return (
        "closed: passwords are taken under TLS alone, but from this machine itself (plaintext_login_networks is empty)"
    )


def _shown(networks: Networks) -> str:
    rules = [str(Networks((rule,))) for rule in networks.rules]
    return ", ".join(rules[:_SHOWN]) + (f" and {len(rules) - _SHOWN} more" if len(rules) > _SHOWN else "")
