"""Who does what needs root: the guard, started by a root that is given up afterwards; or, started without root, nobody."""

from __future__ import annotations

import datetime
import os
import pwd
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from lanmail.accounts.guard import GuardTrouble, Launch
from lanmail.config.parameters import Settings
from lanmail.interfaces import User
from lanmail.mailbox.opening import Opener, PlainOpener
from lanmail.rights import parent
from lanmail.rights.asking import Asking
from lanmail.rights.duties import Duties
from lanmail.rights.launching import Launching
from lanmail.rights.loading import load_now
from lanmail.rights.openers import GuardedFiles, GuardedOpener
from lanmail.rights.privileges import acting_as, drop, mail_group
from lanmail.rights.starting import import_folders, pam_folder, start
from lanmail.tls.configured import order_of
from lanmail.tls.keeping import KeepingTrouble, Kept
from lanmail.tls.signing import BadAnswer, Order, answered

# Helpers besides those of PAM: for names and homes, and those that open files for threads.
OTHER_HELPERS = 40


class Rights(Protocol):
    """What a service may do, and through whom.

    owner: ``mail_owner``. guarded: what needs root can be done. opener: of mailboxes. launches: of the helpers for passwords, names and
    homes; None for our own processes. opened: opens a file that main.cf names; None for the plain way. root: whose mailbox root's is.
    """

    owner: pwd.struct_passwd
    guarded: bool
    opener: Opener
    launches: tuple[Launch, Launch, Launch] | None
    opened: Callable[[str], int] | None
    root: User

    def keep(self, now: datetime.datetime, /) -> Kept:
        """Our own certificate (tls.keeping). Blocks. KeepingTrouble."""

    def as_owner(self) -> AbstractContextManager[None]:
        """At the start: files that are made meanwhile are ``mail_owner``'s."""

    def give_up(self) -> None:
        """Everything is bound and opened: from here on without root. Before the first thread. CannotDrop."""

    def begin(self) -> Deferred[str]:
        """The reactor may be used. Fires, with a sentence, where the guard is lost: then the service cannot go on."""

    def end(self) -> None:
        """Nobody needs anything any more."""


class Unguarded:
    """We have what rights we have: an ordinary user's, for trying out and for accounts of a file."""

    guarded = False
    launches: tuple[Launch, Launch, Launch] | None = None
    opened: Callable[[str], int] | None = None

    def __init__(self, settings: Settings) -> None:
        self.owner = pwd.getpwnam(settings.mail_owner)
        self.opener: Opener = PlainOpener(None)
        self.root = User("root", os.geteuid(), os.getegid())
        self._order = order_of(settings)

    def keep(self, now: datetime.datetime, /) -> Kept:
        return self._order.keep(now)

    def as_owner(self) -> AbstractContextManager[None]:
        return nullcontext()

    def give_up(self) -> None:
        """There is nothing to be given up."""

    def begin(self) -> Deferred[str]:
        return Deferred()

    def end(self) -> None:
        """There is nobody to be told."""


class Guarded:
    """Started as root. main_cf: of which the guard hands over later readings. NoParent."""

    guarded = True

    def __init__(self, settings: Settings, main_cf: str, reactor: Any) -> None:
        load_now()
        self.owner = pwd.getpwnam(settings.mail_owner)
        self.root = User("root", 0, 0)
        self._order = order_of(settings)
        self._dropped = False
        self._groups = mail_group()
        duties = _duties(settings, main_cf, self._order, next(iter(self._groups), None))
        channels = start(duties)
        self._speak(channels.loop, channels.threads, duties, reactor)

    def _speak(self, loop: socket.socket, threads: socket.socket, duties: Duties, reactor: Any) -> None:
        """Through these channels."""
        self.duties = duties
        self._launching = Launching(loop, reactor)
        self._asking = Asking(threads)
        self.launches: tuple[Launch, Launch, Launch] | None = (
            self._launching.launch(parent.PASSWORDS),
            self._launching.launch(parent.NAMES),
            self._launching.launch(parent.HOMES),
        )
        self.opener: Opener = GuardedOpener(self._asking, duties.group)
        self._files = GuardedFiles(self._asking, duties.files)
        self.opened: Callable[[str], int] | None = self._open

    @property
    def identity(self) -> tuple[int, ...]:
        """What ``give_up`` becomes: uid, gid, and further groups."""
        return (self.owner.pw_uid, self.owner.pw_gid, *self._groups)

    def attach(self) -> tuple[socket.socket, socket.socket]:
        """For another process of the service (Attached). OSError."""
        return self._launching.attach()

    def keep(self, now: datetime.datetime, /) -> Kept:
        if not self._dropped:
            return self._order.keep(now)
        try:
            return answered(self._asking.sign(b""))
        except (GuardTrouble, BadAnswer) as trouble:
            raise KeepingTrouble(str(trouble)) from trouble

    def _open(self, path: str) -> int:
        if self._dropped:
            return self._files.open(path)
        # What the guard leaves to our own rights is not opened with root's: not now what could not be had later, nor what somebody
        # else's folder leads to.
        with self.as_owner():
            return self._files.open(path)

    def as_owner(self) -> AbstractContextManager[None]:
        return acting_as(self.owner.pw_uid, self.owner.pw_gid, self._groups)

    def give_up(self) -> None:
        drop(self.owner.pw_uid, self.owner.pw_gid, self._groups)
        self._dropped = True

    def begin(self) -> Deferred[str]:
        self._launching.start()
        return self._launching.lost

    def end(self) -> None:
        self._launching.stop()
        self._asking.close()


class Attached(Guarded):
    """Of a process that was never root, and has channels of its own to a guard that somebody else has started.

    duties: what was said to that guard.
    """

    def __init__(
        self, settings: Settings, duties: Duties, loop: socket.socket, threads: socket.socket, reactor: Any
    ) -> None:
        self.owner = pwd.getpwnam(settings.mail_owner)
        self.root = User("root", 0, 0)
        self._dropped = True
        self._speak(loop, threads, duties, reactor)

    def as_owner(self) -> AbstractContextManager[None]:
        return nullcontext()

    def give_up(self) -> None:
        """There is nothing to be given up."""


def _duties(settings: Settings, main_cf: str, order: Order, group: int | None) -> Duties:
    passwd_files = [source.path for source in settings.accounts if source.kind == "passwd-file"]
    certificates = settings.smtpd_tls_chain_files or (settings.smtpd_tls_cert_file, settings.smtpd_tls_key_file)
    tables = (*settings.alias_maps, *settings.smtpd_sender_login_maps, settings.device_table)
    files = (os.path.abspath(main_cf), *tables, *passwd_files, *certificates)
    locks = settings.mailbox_delivery_lock
    return Duties(
        spool=settings.mail_spool_directory,
        uids=settings.user_ids.ranges,
        pam_service=settings.pam_service if any(source.kind == "system" for source in settings.accounts) else "",
        pam_folder=pam_folder(),
        group=group,
        fcntl="fcntl" in locks,
        flock="flock" in locks,
        files=[*dict.fromkeys(path for path in files if path)],
        signer="lanmail.tls.signing:sign",
        argument=order.text,
        folders=import_folders(),
        most=4 * settings.pam_processes + OTHER_HELPERS,
        time_limit=settings.pam_timeout + 45,
    )
