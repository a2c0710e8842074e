"""Who has mail here, and how they prove who they are."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from twisted.cred.checkers import ICredentialsChecker

from lanmail.accounts.checkers import ForeignPasswords, PasswordChecker
from lanmail.accounts.devices import BadTable, DeviceTable, Table
from lanmail.accounts.homes import forward_files
from lanmail.accounts.pam import SystemGuards
from lanmail.accounts.passwd_file import PasswdFile
from lanmail.accounts.remembered import RememberedLogins
from lanmail.accounts.sources import AccountList, Accounts, Passwords
from lanmail.accounts.throttle import Throttle
from lanmail.accounts.watched import ACCOUNTS, FOLDERS, Watched
from lanmail.config.foreign_accounts import obstacle_on
from lanmail.config.machine import THIS_MACHINE
from lanmail.config.parameters import Settings
from lanmail.delivery.forward import ForwardsOfUsers
from lanmail.files import open_no_link
from lanmail.maillog import Logger
from lanmail.wiring.place import CannotStart, Place, log


class People:
    """accounts: who has mail. checker: of their passwords, for the portal. devices: machines that need none.

    foreign: checkers in place of our own (Twisted's ``--auth``). Raises CannotStart.
    """

    def __init__(self, place: Place, foreign: Sequence[ICredentialsChecker]) -> None:
        settings = place.settings
        self._place = place
        self._guards: SystemGuards | None = None
        self.accounts = AccountList([self._source(source.kind, source.path) for source in settings.accounts])
        domains = settings.mydestination.names
        self._foreign = ForeignPasswords(foreign, self.accounts, domains, log.report) if foreign else None
        passwords = self._foreign or self._remembering()
        counting = place.counting
        throttle = Throttle(place.reactor, counting.failures("addresses"), counting.failures("names"))
        self.checker = PasswordChecker(passwords, domains, throttle, Logger("auth").report)
        self.devices = DeviceTable(
            settings.device_table,
            place.in_thread,
            place.reactor.seconds,
            log.report,
            opened=place.rights.opened or open_no_link,
            rates=counting.buckets(),
        )
        try:
            self.devices.load()
        except BadTable as bad:
            raise CannotStart("\n".join(bad.lines)) from bad

    def adopt(self, settings: Settings, devices: Table) -> None:
        """A reload; ``devices`` was read by it."""
        self.checker.domains = frozenset(settings.mydestination.names)
        if self._foreign is not None:
            self._foreign.domains = self.checker.domains
        self.devices.adopt(settings.device_table, devices)

    def forwards_of(self, settings: Settings) -> ForwardsOfUsers | None:
        """None where nobody's .forward is read: not asked for, no system accounts, or no right to be somebody else."""
        path = settings.forward_path
        if self._guards is None or not self._place.rights.guarded or not (path.plain or path.tagged):
            return None
        read = forward_files(self._guards.homes)
        return ForwardsOfUsers(read, self._place.reactor, log.report, plain=path.plain, tagged=path.tagged)

    def missing_rights(self) -> list[str]:
        """What cannot be done without root, for the log."""
        if self._place.rights.guarded or self._guards is None:
            return []
        folder = self._place.settings.mail_spool_directory
        return [
            "started without root: PAM may refuse to check other users' passwords, and a mailbox that is missing cannot be made"
            f" for its user in {folder}; .forward files are not read"
        ]

    def start(self) -> None:
        """The first helpers, before anybody asks."""
        if self._guards is not None:
            self._guards.start()

    async def stop(self) -> None:
        """Until no helper is left."""
        if self._guards is not None:
            await self._guards.stop()

    def _source(self, kind: str, path: str) -> Accounts:
        """One entry of ``accounts``."""
        place, settings = self._place, self._place.settings
        if kind == "system":
            self._guards = SystemGuards(
                place.reactor,
                settings.pam_service,
                log.report,
                # Divided among the workers: each has helpers of its own.
                helpers=-(-settings.pam_processes // place.colleagues.count),
                time_limit=settings.pam_timeout,
                launches=place.rights.launches,
            )
            return self._guards.accounts(place.reactor, settings.user_ids, log.report)
        owner = place.rights.owner
        return PasswdFile(
            path,
            owner.pw_uid,
            owner.pw_gid,
            place.in_thread,
            place.reactor,
            log.report,
            opened=place.rights.opened or open_no_link,
        )

    def _remembering(self) -> Passwords:
        """The accounts, and a memory of who has just logged in, as far as that is safe here."""
        place, settings = self._place, self._place.settings
        if not settings.login_cache_time:
            return self.accounts
        files = [source.path for source in settings.accounts if source.kind == "passwd-file"]
        system = self._guards is not None
        # Asked for in main.cf it is done, whatever nsswitch.conf and PAM say.
        judged = system and settings.written["login_cache_time"].is_default
        return RememberedLogins(
            self.accounts,
            self.accounts,
            Watched([*ACCOUNTS, *files], FOLDERS) if system else Watched(files),
            place.in_thread,
            log.report,
            lasting=settings.login_cache_time,
            clock=place.reactor.seconds,
            wall=time.time,
            obstacle=partial(obstacle_on, THIS_MACHINE, settings.pam_service) if judged else str,
            memory=place.counting.logins(),
        )
