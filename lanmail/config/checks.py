"""What is wrong with a configuration as a whole, and with the machine for it, where every value by itself is right."""

from __future__ import annotations

import os
from collections.abc import Iterator

from lanmail.config.devices import parse as parse_devices
from lanmail.config.machine import Machine
from lanmail.config.parameters import PARAMETERS, Settings
from lanmail.config.problems import Problem, Severity
from lanmail.config.syntax import normalised, words
from lanmail.config.tls_checks import tls_findings

PAM_FOLDERS = ("/etc/pam.d", "/usr/lib/pam.d")


def check_whole(settings: Settings) -> list[Problem]:
    """Values that do not go together. Looks at nothing but the settings."""
    return list(_whole(settings))


def check_machine(settings: Settings, machine: Machine) -> list[Problem]:
    """Accounts, folders and files that must be there, or should be. Needs no right that an ordinary user lacks."""
    return [*_accounts(settings, machine), *_folders(settings, machine), *_files(settings, machine)]


def _problem(severity: Severity, settings: Settings, name: str, text: str) -> Problem:
    return Problem(severity, settings.written[name].place, f"{name}: {text}")


def _error(settings: Settings, name: str, text: str) -> Problem:
    return _problem(Severity.ERROR, settings, name, text)


def _warning(settings: Settings, name: str, text: str) -> Problem:
    return _problem(Severity.WARNING, settings, name, text)


def _whole(settings: Settings) -> Iterator[Problem]:
    doors = [settings.smtp_port, settings.pop3_port, settings.smtp_endpoint, settings.pop3_endpoint]
    if not any(doors):
        yield _error(
            settings, "smtp_port", "it and pop3_port are 0, and there is no endpoint: nothing would be listened on"
        )
    yield from _ports(settings)
    # local(8) refuses the same: a message could be taken that fits in no mailbox.
    limit, message = settings.mailbox_size_limit, settings.message_size_limit
    if limit and (limit < message or not message):
        yield _error(
            settings, "mailbox_size_limit", f"{limit} is less than message_size_limit ({message or 'no limit'})"
        )
    if settings.reserved_connections >= settings.max_connections:
        yield _error(
            settings,
            "reserved_connections",
            f"{settings.reserved_connections} of max_connections ({settings.max_connections}) leaves none for others",
        )
    yield from _workers(settings)
    yield from _proxies(settings)
    yield from _recipients(settings)
    for severity, name, text in tls_findings(settings):
        yield _problem(severity, settings, name, text)
    # RFC 5321, 4.2: a client that looks for loops compares the first word with its own name.
    if settings.smtpd_banner.split()[:1] != [settings.myhostname]:
        yield _warning(settings, "smtpd_banner", "it should begin with $myhostname")
    for accepted, network in settings.mynetworks.rules:
        if accepted and network.prefixlen == 0:
            yield _warning(settings, "mynetworks", f"{network} makes the whole Internet one of ours")


def _workers(settings: Settings) -> Iterator[Problem]:
    """Ports are bound once and handed to every worker; an endpoint is whatever Twisted makes of it, in one process."""
    for name in ("smtp_endpoint", "pop3_endpoint"):
        if settings.workers > 1 and settings.values[name]:
            yield _error(settings, "workers", f"{settings.workers} cannot share {name}; use ports, or one worker")


def _ports(settings: Settings) -> Iterator[Problem]:
    """Each port is for one thing. Where an endpoint stands in its place, it is for nothing."""
    taken: dict[int, str] = {}
    unused = {"smtp_port": settings.smtp_endpoint, "pop3_port": settings.pop3_endpoint}
    for name in ("smtp_port", "pop3_port", "submission_port", "submissions_port", "pop3s_port"):
        port = settings.values[name]
        if port and not unused.get(name) and taken.setdefault(port, name) != name:
            yield _error(settings, name, f"{port} is {taken[port]} too")


def _proxies(settings: Settings) -> Iterator[Problem]:
    for accepted, network in settings.proxy_networks.rules:
        if accepted and network.prefixlen == 0:
            yield _error(settings, "proxy_networks", f"{network} lets everybody say that they are somebody else")
    if settings.proxy_networks.rules:
        return
    for name in ("smtp_endpoint", "pop3_endpoint"):
        for description in settings.values[name]:
            if description.startswith(("haproxy:tcp:", "haproxy:tcp6:", "haproxy:ssl:")):
                yield _error(
                    settings,
                    name,
                    f"nobody could come in at {description}: proxy_networks names no proxy to be believed",
                )


def _recipients(settings: Settings) -> Iterator[Problem]:
    written = settings.written["local_recipient_maps"]
    asked = [word.removeprefix("proxy:") for word in words(written.text)]
    if not asked and not settings.luser_relay:
        yield _warning(
            settings,
            "local_recipient_maps",
            "empty, as luser_relay is: Postfix takes mail for anybody and returns it later; here an unknown recipient is refused",
        )
    elif not asked:
        yield from _luser_relay(settings)
    elif asked != [word.removeprefix("proxy:") for word in words(str(PARAMETERS["local_recipient_maps"].default))]:
        yield _error(
            settings,
            "local_recipient_maps",
            f"only its default is possible, or nothing: {PARAMETERS['local_recipient_maps'].default}",
        )
    elif settings.luser_relay:
        yield _warning(
            settings,
            "luser_relay",
            "it has no effect: unknown recipients are refused, unless local_recipient_maps is set to nothing",
        )
    if not settings.mydestination.names:
        yield _warning(
            settings, "mydestination", f"{normalised(settings.written['mydestination'].expanded)!r} makes no mail local"
        )


def _luser_relay(settings: Settings) -> Iterator[Problem]:
    """An address elsewhere would be nobody: whoever relies on it should hear that before the mail is refused."""
    _, at, domain = settings.luser_relay.rpartition("@")
    if at and "$" not in domain and domain.lower() not in settings.mydestination.names:
        yield _warning(
            settings,
            "luser_relay",
            f"{domain} is not in mydestination, and mail does not leave this network: unknown recipients are refused",
        )


def _accounts(settings: Settings, machine: Machine) -> Iterator[Problem]:
    owner = settings.mail_owner
    uid = machine.user(owner)
    if uid is None:
        yield _error(
            settings,
            "mail_owner",
            f"there is no account {owner!r}; make it with: useradd -r -M -d /nonexistent -s /usr/sbin/nologin {owner}",
        )
    elif uid == 0:
        yield _error(
            settings,
            "mail_owner",
            f"{owner!r} is root; another account must own queue_directory/lanmail, and the mailboxes of a passwd-file",
        )
    system = any(source.kind == "system" for source in settings.accounts)
    if system and not any(machine.exists(f"{folder}/{settings.pam_service}") for folder in PAM_FOLDERS):
        yield _warning(
            settings,
            "pam_service",
            f"there is no /etc/pam.d/{settings.pam_service}, so nobody of the system can log in;"
            f" install it with: cp etc/pam.d/lanmail /etc/pam.d/{settings.pam_service}  (Fedora: etc/pam.d/lanmail.fedora)",
        )


def _folders(settings: Settings, machine: Machine) -> Iterator[Problem]:
    spool = settings.mail_spool_directory
    if not machine.is_folder(spool):
        yield _error(settings, "mail_spool_directory", _no_folder(spool, machine, "install -d -g mail -m 2775"))
    queue = settings.queue_directory
    if machine.exists(queue) and not machine.is_folder(queue):
        yield _error(settings, "queue_directory", _no_folder(queue, machine, "install -d"))
    log = settings.maillog_file
    if log and machine.is_folder(log):
        yield _error(settings, "maillog_file", f"{log} is a folder; name the file in it that the log goes to")
    elif log and not machine.is_folder(os.path.dirname(log)):
        yield _error(settings, "maillog_file", _no_folder(os.path.dirname(log), machine, "install -d"))


def _no_folder(path: str, machine: Machine, make: str) -> str:
    facts = machine.facts(path)
    if facts is None:
        return f"there is no folder {path}; make it with: {make} {path}"
    return f"{path} is a file, not a folder" if facts.is_file else f"{path} is not a folder"


def _files(settings: Settings, machine: Machine) -> Iterator[Problem]:
    for path in settings.alias_maps:
        if why := _unreadable(path, machine):
            yield _warning(settings, "alias_maps", f"cannot read {path}: {why}; there are no aliases from it")
    for source in settings.accounts:
        if source.kind == "passwd-file" and (why := _no_passwords(source.path, settings, machine)):
            yield _warning(settings, "accounts", why)
    for path in settings.smtpd_sender_login_maps:
        if why := _unreadable(path, machine):
            yield _warning(
                settings, "smtpd_sender_login_maps", f"cannot read {path}: {why}; it lets nobody do anything"
            )
    yield from _devices(settings, machine)


def _devices(settings: Settings, machine: Machine) -> Iterator[Problem]:
    """What a reload would refuse keeps a start from happening: there is no older table to go on with."""
    path = settings.device_table
    facts = machine.facts(path) if path else None
    if facts is None:
        if path and not settings.written["device_table"].is_default:
            yield _warning(settings, "device_table", f"there is no {path}; lanmail device add makes it")
        return
    if facts.is_link:
        yield _error(settings, "device_table", f"{path} is a symbolic link; name the file itself")
    elif facts.is_file and facts.mode & 0o002:
        yield _error(settings, "device_table", f"{path} can be written by everybody; chmod o-w {path}")
    else:
        try:
            yield from parse_devices(machine.read(path), path)[1]
        except OSError as error:
            yield _error(settings, "device_table", f"cannot read {path}: {error.strerror or error}")


def _no_passwords(path: str, settings: Settings, machine: Machine) -> str:
    """Why the server would take no passwords from that file, as accounts.passwd_file would refuse it; empty where it would."""
    facts, owner = machine.facts(path), settings.mail_owner
    if facts is None:
        return f"there is no {path}; lanmail passwd makes it"
    if facts.is_link:
        return f"{path} is a symbolic link, and nobody of it can log in; name the file itself"
    if not facts.is_file:
        return f"{path} is not a regular file, and nobody of it can log in"
    if facts.uid not in (0, machine.user(owner)):
        return f"{path} belongs to uid {facts.uid}, who could let anybody in, and nobody of it can log in; chown {owner} {path}"
    if facts.mode & 0o077:
        return (
            f"{path} is open to others (mode {facts.mode & 0o7777:04o}), and nobody of it can log in; chmod 600 {path}"
        )
    return ""


def _unreadable(path: str, machine: Machine) -> str:
    try:
        machine.read(path)
    except OSError as error:
        return error.strerror or str(error)
    return ""
