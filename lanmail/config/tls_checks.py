"""What is wrong with the TLS of a configuration, where every value by itself is right. Certificates are judged by tls/given.py."""

from __future__ import annotations

from collections.abc import Iterator

from lanmail.config.parameters import Settings
from lanmail.config.problems import Severity

# (how badly, the parameter, what there is to say)
Finding = tuple[Severity, str, str]

PORTS = ("smtp_port", "pop3_port", "submission_port", "submissions_port", "pop3s_port")


def tls_findings(settings: Settings) -> Iterator[Finding]:
    """Looks at nothing but the settings."""
    yield from _certificates(settings)
    port = settings.tls_legacy_clients
    if not port:
        return
    for name in PORTS:
        if settings.values[name] == port:
            yield Severity.ERROR, "tls_legacy_clients", f"{port} is {name} too; old devices have a port of their own"
    yield (
        Severity.WARNING,
        "tls_legacy_clients",
        f"at port {port} TLS 1.0 is good enough: whoever can read and change what passes between such a device and us can get at its"
        " password. Give each device an account of its own, or put it into device_table, which needs no password at all",
    )


def _certificates(settings: Settings) -> Iterator[Finding]:
    key_written = not settings.written["smtpd_tls_key_file"].is_default
    if settings.smtpd_tls_chain_files:
        for name in ("smtpd_tls_cert_file", "smtpd_tls_key_file"):
            if settings.values[name] and not settings.written[name].is_default:
                yield Severity.WARNING, name, "it has no effect beside smtpd_tls_chain_files"
    elif settings.smtpd_tls_key_file and key_written and not settings.smtpd_tls_cert_file:
        yield (
            Severity.WARNING,
            "smtpd_tls_key_file",
            "it has no effect without smtpd_tls_cert_file; our own certificate serves",
        )
