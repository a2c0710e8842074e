"""SIGHUP: the configuration, aliases, devices and certificates are read again, and all of it holds, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lanmail.accounts.devices import BadTable, Table, read_table
from lanmail.config.parameters import Settings
from lanmail.config.reloading import ONLY_BY_A_RESTART, applied
from lanmail.config.settings import Reading
from lanmail.delivery.aliases import Aliases
from lanmail.files import open_no_link
from lanmail.tls.configured import order_of
from lanmail.tls.given import DoesNotFit
from lanmail.tls.keeping import KeepingTrouble
from lanmail.tls.openssl import CannotServe
from lanmail.tls.serving import Certificates
from lanmail.wiring.doors import Doors
from lanmail.wiring.keeping import Keeping
from lanmail.wiring.people import People
from lanmail.wiring.place import Place, log
from lanmail.wiring.post import Post


class Refused(Exception):
    """The new configuration cannot hold; the text says why. What is wrong in detail the log was told."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that a reload reads, read; nothing of it holds yet."""

    settings: Settings
    devices: Table
    certificates: Certificates | None
    aliases: Aliases


async def read_again(place: Place, reread: Callable[[], Reading]) -> Settings:
    """The configuration as it shall hold: what is written now, but for what only a restart changes. Raises Refused.

    reread: reads it; blocks.
    """
    reading = await place.in_thread(reread)
    for problem in reading.problems:
        (log.error if problem in reading.errors else log.warn)("{problem}", problem=problem)
    if reading.errors:
        raise Refused("main.cf has errors")
    if all(written.is_default for written in reading.settings.written.values()):
        # As an editor leaves it for a moment that empties a file before it writes it anew: the domain would be nobody's.
        raise Refused(f"{reading.file} sets nothing")
    return reading.accepted()


def tell(running: Settings, settings: Settings, kept: list[str]) -> None:
    """What was read again, and holds now, or not before a restart."""
    for name in kept:
        log.warn(
            "warning: {name} stays {value}: it changes only by a restart ({why})",
            name=name,
            value=running.written[name].expanded or "empty",
            why=ONLY_BY_A_RESTART[name],
        )
    if order_of(settings) != order_of(running):
        log.info("our own certificate keeps the names that it has until a restart")
    log.info("the configuration was read again")


def refuse(why: str) -> None:
    """Everything is as it was."""
    log.error("{why}: nothing of the configuration was changed", why=why)


class Reload:
    """The parts of a running service, which obey another configuration."""

    def __init__(self, place: Place, people: People, keeping: Keeping, post: Post, doors: Doors) -> None:
        self._place = place
        self._people = people
        self._keeping = keeping
        self._post = post
        self._doors = doors

    async def run(self, reread: Callable[[], Reading]) -> bool:
        """Whether the new configuration holds; where it does not, the log says why, and everything is as it was."""
        running = self._place.settings
        try:
            settings, kept = applied(running, await read_again(self._place, reread))
            self.adopt(await self.prepare(settings))
        except Refused as refused:
            refuse(str(refused))
            return False
        tell(running, settings, kept)
        return True

    async def prepare(self, settings: Settings) -> Prepared:
        """Read whatever these settings name. Raises Refused."""
        in_thread = self._place.in_thread
        try:
            devices = await in_thread(self._devices, settings)
            certificates = await in_thread(self._certificates, settings)
        except BadTable as bad:
            for line in bad.lines:
                log.error("{line}", line=line)
            raise Refused("the device table has errors") from bad
        except (DoesNotFit, KeepingTrouble, CannotServe) as trouble:
            raise Refused(str(trouble)) from trouble
        aliases = self._post.aliases_of(settings)
        await in_thread(aliases.refresh)
        # Without it, mail to every alias would be refused for good. One that was not there before either has been lived with.
        if lost := aliases.missing() - self._post.aliases.missing():
            raise Refused(f"alias_maps: cannot read {', '.join(sorted(lost))}")
        return Prepared(settings, devices, certificates, aliases)

    def adopt(self, prepared: Prepared) -> None:
        """It holds from now on. Nothing waits, and nothing can go wrong."""
        settings = self._place.settings = prepared.settings
        self._people.adopt(settings, prepared.devices)
        self._keeping.adopt(settings)
        self._post.adopt(settings, prepared.aliases)
        self._doors.adopt(settings, prepared.certificates)

    def _devices(self, settings: Settings) -> Table:
        if not settings.device_table:
            return Table()
        return read_table(settings.device_table, self._place.rights.opened or open_no_link)

    def _certificates(self, settings: Settings) -> Certificates | None:
        """None where there were none at the start: then there are none of the ports either."""
        return self._doors.certificates_of(settings) if self._doors.certificates is not None else None
