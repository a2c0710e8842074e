"""What main.cf allows each client, in the words of the protocols."""

from __future__ import annotations

from typing import TypedDict

from lanmail.anvil import Rates
from lanmail.config.parameters import Settings
from lanmail.smtp.limits import SmtpLimits


def client_rates(settings: Settings) -> Rates:
    """At each door."""
    return Rates(
        settings.smtpd_client_connection_rate_limit,
        settings.smtpd_client_message_rate_limit,
        settings.smtpd_client_recipient_rate_limit,
        settings.smtpd_client_auth_rate_limit,
        settings.anvil_rate_time_unit,
    )


class Pop3Limits(TypedDict):
    """Arguments of LanPOP3Factory, and attributes by the same names."""

    banner: str
    login_timeout: float
    timeout: float
    takeover_after: float
    error_limit: int
    login_commands: int
    login_tries: int
    unread_octets: int


def pop3_limits(settings: Settings) -> Pop3Limits:
    """Of a POP3 session, its greeting among them."""
    return Pop3Limits(
        banner=settings.pop3_banner,
        login_timeout=settings.pop3_login_timeout,
        timeout=settings.pop3_timeout,
        takeover_after=settings.pop3_takeover_after,
        error_limit=settings.pop3_error_limit,
        login_commands=settings.pop3_login_command_limit,
        login_tries=settings.login_tries_limit,
        unread_octets=settings.unread_octets_limit,
    )


def smtp_limits(settings: Settings) -> SmtpLimits:
    """Of an SMTP session, at every port."""
    return SmtpLimits(
        message_size_limit=settings.message_size_limit,
        line_length_limit=settings.line_length_limit,
        recipient_limit=settings.smtpd_recipient_limit,
        recipient_overshoot_limit=settings.smtpd_recipient_overshoot_limit,
        junk_command_limit=settings.smtpd_junk_command_limit,
        soft_error_limit=settings.smtpd_soft_error_limit,
        hard_error_limit=settings.smtpd_hard_error_limit,
        error_sleep_time=settings.smtpd_error_sleep_time,
        timeout=settings.smtpd_timeout,
        per_request_deadline=settings.smtpd_per_request_deadline,
        min_data_rate=settings.smtpd_min_data_rate,
        login_tries=settings.login_tries_limit,
        unread_octets=settings.unread_octets_limit,
    )
