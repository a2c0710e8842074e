"""What a main.cf that was read again changes in a service that runs, and what waits for its next start."""

from __future__ import annotations

from collections.abc import Mapping

from lanmail.config.parameters import PARAMETERS, Settings
from lanmail.config.syntax import normalised

ONLY_BY_A_RESTART: Mapping[str, str] = {
    **dict.fromkeys(
        (
            *(
                "inet_interfaces",
                "inet_protocols",
                "smtp_port",
                "submission_port",
                "submissions_port",
                "tls_legacy_clients",
            ),
            *("pop3_port", "pop3s_port", "smtp_endpoint", "pop3_endpoint", "proxy_networks"),
        ),
        "ports are bound once, by root",
    ),
    **dict.fromkeys(
        ("mail_owner", "queue_directory", "maillog_file", "history_days", "workers"),
        "it is what the service became, and opened, when it gave root up",
    ),
    **dict.fromkeys(
        (
            *("accounts", "user_ids", "pam_service", "pam_processes", "pam_timeout", "login_cache_time"),
            *("mail_spool_directory", "mailbox_delivery_lock", "data_directory"),
        ),
        "what root's guard is there for is said to it once",
    ),
}
"""Of each, why."""


def applied(running: Settings, read: Settings) -> tuple[Settings, list[str]]:
    """What holds after a reload, and the names of what ``read`` has otherwise and a restart alone changes, in the table's order."""

    def text(settings: Settings, name: str) -> str:
        return normalised(settings.written[name].expanded)

    kept = [name for name in PARAMETERS if name in ONLY_BY_A_RESTART and text(read, name) != text(running, name)]
    values = {**read.values, **{name: running.values[name] for name in kept}}
    written = {**read.written, **{name: running.written[name] for name in kept}}
    return Settings(values, written), kept
