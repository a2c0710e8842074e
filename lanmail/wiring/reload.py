"""SIGHUP: the configuration, aliases, devices and certificates are read again, and all of it holds, or nothing."""

from __future__ import annotations

from collections.abc import Callable

from lanmail.accounts.devices import BadTable, Table, read_table
from lanmail.config.parameters import Settings
from lanmail.config.reloading import ONLY_BY_A_RESTART, applied
from lanmail.config.settings import Reading
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


class Reload:
    """The parts of a running service, and how their configuration is read: ``reread``, which blocks."""

    def __init__(
        self, place: Place, people: People, keeping: Keeping, post: Post, doors: Doors, reread: Callable[[], Reading]
    ) -> None:
        self._place = place
        self._people = people
        self._keeping = keeping
        self._post = post
        self._doors = doors
        self._reread = reread

    async def run(self) -> bool:
        """Whether the new configuration holds; where it does not, the log says why, and everything is as it was."""
        in_thread, running = self._place.in_thread, self._place.settings
        reading = await in_thread(self._reread)
        for problem in reading.problems:
            (log.error if problem in reading.errors else log.warn)("{problem}", problem=problem)
        if reading.errors:
            return self._refused("main.cf has errors")
        if all(written.is_default for written in reading.settings.written.values()):
            # As an editor leaves it for a moment that empties a file before it writes it anew: the domain would be nobody's.
            return self._refused(f"{reading.file} sets nothing")
        settings, kept = applied(running, reading.accepted())
        try:
            devices = await in_thread(self._devices, settings)
            certificates = await in_thread(self._certificates, settings)
        except BadTable as bad:
            for line in bad.lines:
                log.error("{line}", line=line)
            return self._refused("the device table has errors")
        except (DoesNotFit, KeepingTrouble, CannotServe) as trouble:
            return self._refused(str(trouble))
        aliases = self._post.aliases_of(settings)
        await in_thread(aliases.refresh)
        # Without it, mail to every alias would be refused for good. One that was not there before either has been lived with.
        if lost := aliases.missing() - self._post.aliases.missing():
            return self._refused(f"alias_maps: cannot read {', '.join(sorted(lost))}")

        # From here on nothing waits, and nothing can go wrong.
        self._place.settings = settings
        self._people.adopt(settings, devices)
        self._keeping.adopt(settings)
        self._post.adopt(settings, aliases)
        self._doors.adopt(settings, certificates)
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
        return True

    def _devices(self, settings: Settings) -> Table:
        if not settings.device_table:
            return Table()
        return read_table(settings.device_table, self._place.rights.opened or open_no_link)

    def _certificates(self, settings: Settings) -> Certificates | None:
        """None where there were none at the start: then there are none of the ports either."""
        return self._doors.certificates_of(settings) if self._doors.certificates is not None else None

    def _refused(self, why: str) -> bool:
        log.error("{why}: nothing of the configuration was changed", why=why)
        return False
