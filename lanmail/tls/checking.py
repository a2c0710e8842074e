"""What is wrong with the certificates that a main.cf names, told before a service is started with it: for ``--check`` and the commands.

They are read with the rights that the service will have: root's guard hands over what lies in folders that are root's alone, all else
``mail_owner`` must be able to open.
"""

from __future__ import annotations

import datetime
import os
import pwd
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from lanmail.config.machine import MAX_FILE, THIS_MACHINE, Machine
from lanmail.config.parameters import Settings
from lanmail.config.problems import Problem, Severity
from lanmail.config.settings import Reading
from lanmail.files import Open, open_plainly, read_whole
from lanmail.rights.privileges import acting_as, mail_group
from lanmail.rights.trusted import Untrusted, both_reasons, open_trusted
from lanmail.tls.authority import issue, make_authority
from lanmail.tls.configured import given_files, plan_of
from lanmail.tls.given import DoesNotFit, Read, judge
from lanmail.tls.openssl import CannotServe, check_old
from lanmail.tls.plan import Plan

# What the names of a certificate are compared with. Where one of these is wrong, nothing is known of the names.
_NAMES = frozenset(("myhostname", "mydomain", "mydestination", "inet_interfaces", "inet_protocols"))


def judged(reading: Reading, read: Read | None = None, machine: Machine = THIS_MACHINE) -> Reading:
    """The same reading, and what is wrong with its certificates among its problems. Blocking, some milliseconds.

    read: instead of with the rights of a service that would be started now.
    """
    if reading.unread or any(error.text.partition(":")[0] in _NAMES for error in reading.errors):
        return reading
    settings = reading.settings
    if any(value is None for value in settings.values.values()):
        return reading
    plan, now = plan_of(settings, machine), datetime.datetime.now(datetime.UTC)
    found = [*_given(settings, read or reader_for(settings), plan, now), *_old(settings, plan, now)]
    return replace(reading, problems=(*reading.problems, *found))


def reader_for(settings: Settings) -> Read:
    """Reads the files that main.cf names as a service would that is started now by whoever we are. Before the first thread."""
    if os.geteuid() != 0:
        return _as_nobody_special
    opened: Open = open_plainly
    try:
        owner = pwd.getpwnam(settings.mail_owner)
        opened = partial(_as_guarded, uid=owner.pw_uid, gid=owner.pw_gid, groups=mail_group())
    except KeyError:
        pass  # that there is no such account is told elsewhere
    return partial(read_whole, opened=opened, most=MAX_FILE)


def _as_guarded(path: str, uid: int, gid: int, groups: Sequence[int]) -> int:
    """As root's guard and a service with these ids open it between them (rights/openers.py)."""
    try:
        return open_trusted(path)
    except Untrusted as why:
        with acting_as(uid, gid, groups):
            try:
                return open_plainly(path)
            except PermissionError as error:
                raise both_reasons(error, str(why), path) from error


def _as_nobody_special(path: str) -> bytes:
    try:
        return read_whole(path, open_plainly, MAX_FILE)
    except PermissionError as error:
        raise PermissionError(error.errno, f"{error.strerror}, unless the service is started as root", path) from error


def _given(settings: Settings, read: Read, plan: Plan, now: datetime.datetime) -> Iterator[Problem]:
    try:
        for warning in judge(given_files(settings), read, plan, now).warnings:
            yield _problem(Severity.WARNING, settings, warning)
    except DoesNotFit as trouble:
        yield _problem(Severity.ERROR, settings, str(trouble))


def _old(settings: Settings, plan: Plan, now: datetime.datetime) -> Iterator[Problem]:
    if settings.tls_legacy_clients:
        try:
            check_old(issue(make_authority(plan, now), plan, now, for_old_devices=True).chain)
        except CannotServe as trouble:
            yield _problem(Severity.ERROR, settings, str(trouble))


def _problem(severity: Severity, settings: Settings, text: str) -> Problem:
    """text: begins with the parameter that it is about."""
    return Problem(severity, settings.written[text.partition(":")[0]].place, text)
