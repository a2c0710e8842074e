"""What a main.cf says of TLS, as the other modules of this package want to be told it."""

from __future__ import annotations

from lanmail.config.machine import THIS_MACHINE, Machine
from lanmail.config.parameters import Settings
from lanmail.tls.given import GivenFiles
from lanmail.tls.plan import MOST_DOMAINS, Plan
from lanmail.tls.signing import Order


def order_of(settings: Settings) -> Order:
    """What is asked of whoever keeps our authority."""
    return Order(
        settings.data_directory,
        settings.myhostname,
        settings.mydomain,
        settings.mydestination.names[:MOST_DOMAINS],
        settings.inet_interfaces.addresses,
        bool(settings.tls_legacy_clients),
    )


def plan_of(settings: Settings, machine: Machine = THIS_MACHINE) -> Plan:
    """The names and addresses that clients may know us by, now. Blocking, but for no more than a look into /proc."""
    return order_of(settings).plan(machine)


def given_files(settings: Settings) -> GivenFiles:
    """The certificates that main.cf names."""
    return GivenFiles(settings.smtpd_tls_cert_file, settings.smtpd_tls_key_file, settings.smtpd_tls_chain_files)
