"""``twist lanmail``, ``twistd lanmail`` and the .tac: the options, and the one ``makeService`` behind all three doors.

Whatever can be found wrong is found here, before a reactor runs: the configuration, the rights, the ports. Then the
program ends with sentences and a status other than 0, and never as a process that listens to nothing.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from twisted.application.service import IService
from twisted.application.twist._options import TwistOptions
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.strcred import AuthOptionMixin
from twisted.internet.epollreactor import EPollReactor
from twisted.python import usage

from lanmail.config.describe import describe, refusal
from lanmail.config.machine import ThisMachine
from lanmail.config.openings import openings
from lanmail.config.settings import Reading, place_of, read
from lanmail.files import open_plainly
from lanmail.maillog import standard_output
from lanmail.memory import collect_seldom, share_arenas
from lanmail.ports import CannotListen, Listening
from lanmail.rights.handover import hand_over
from lanmail.rights.loading import load_now, unreadable
from lanmail.rights.starting import NoParent
from lanmail.service import LanMail
from lanmail.spool.ground import doubts
from lanmail.state import StateFolder, StateTrouble
from lanmail.tls.checking import judged
from lanmail.tryout import CannotTry, TryOut
from lanmail.wiring.beside import before_the_workers
from lanmail.wiring.listening import open_ports
from lanmail.wiring.place import CannotStart, Place, log
from lanmail.wiring.rights import Guarded, Rights, Unguarded


class Options(usage.Options, AuthOptionMixin):
    """Which configuration, and what the command line says over it."""

    synopsis = "[options]"
    longdesc = (
        "Without --config the first of ./main.cf and /etc/lanmail/main.cf is taken; where there is none, the try-out runs:"
        " loopback only, two accounts, everything in ./lanmail-data."
    )
    supportedInterfaces = (IUsernamePassword,)
    optParameters = (("config", "c", None, "The main.cf to use."),)
    optFlags = (
        ("check", None, "Say what is configured and what is wrong with it, and end: status 0 if a server could start."),
    )

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self["override"] = []

    def opt_override(self, assignment: str) -> None:
        """A parameter, as name=value, over what main.cf says (as postfix's -o)."""
        self["override"].append(assignment)

    opt_o = opt_override

    @classmethod
    def of(cls, config: str | None = None, override: Iterable[str] = ()) -> Options:
        """For a .tac that chooses for itself."""
        options = cls()
        options["config"] = config
        options["override"] = list(override)
        return options

    def postOptions(self) -> None:
        twist = getattr(self, "parent", None)
        if isinstance(twist, TwistOptions) and not any(word.startswith("--log-fo") for word in sys.argv):
            # Unasked, twist writes JSON wherever no terminal reads it, which is wherever a server runs; and it does not tell
            # what was asked from what it chose itself.
            twist["fileLogObserverFactory"] = standard_output
        for assignment in self["override"]:
            if "=" not in assignment:
                raise usage.UsageError(f"-o {assignment}: name=value is wanted")


def makeService(options: Options) -> IService:
    """A service whose ports are bound already. Ends the program (SystemExit) where there can be none."""
    trial = None
    path = place_of(options["config"])
    try:
        if path is None:
            trial = TryOut.prepare(os.getcwd())
            path = trial.main_cf
        reading = read(path, options["override"])
        if options["check"]:
            reading = judged(reading)
            _say(describe(reading, ground=[] if trial else doubts(reading.settings.queue_directory)))
            raise SystemExit(1 if reading.errors else 0)
        return _service(reading, options, trial)
    except (CannotTry, CannotListen, CannotStart, NoParent, StateTrouble) as trouble:
        _end(str(trouble))


def _service(reading: Reading, options: Options, trial: TryOut | None) -> IService:
    if reading.errors:
        _end(*refusal(reading))
    from twisted.internet import reactor

    share_arenas()
    go_steadily(reactor)
    # Until the service hears it. It would end us, and for systemd that is a clean end, after which nobody is started anew.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    settings = reading.accepted()
    rights = _rights(reading, reactor)
    owner = rights.owner
    state = StateFolder(settings.queue_directory, owner.pw_uid, owner.pw_gid)
    warnings: list[object] = [*reading.warnings, *hand_over(state.path, owner.pw_uid, owner.pw_gid)]
    if rights.guarded and (folder := unreadable(owner.pw_uid, owner.pw_gid)):
        warnings.append(f"{owner.pw_name} (mail_owner) cannot read {folder}, where Python's programs lie: move them")
    ports = open_ports(settings)
    # The try-out may lie in memory: nobody trusts it with mail.
    if trial is None:
        warnings += doubts(state.path)

    foreign: Sequence[ICredentialsChecker] = options.get("credCheckers", ())
    # twistd may go to another folder on its way into the background; and the guard knows the file by its whole path.
    main_cf, machine = os.path.abspath(reading.file), ThisMachine(rights.opened or open_plainly)

    def reread() -> Reading:
        return read(main_cf, options["override"], machine=machine)

    def started() -> None:
        collect_seldom()
        if trial is not None:
            smtp, pop3 = (port.place for port in ports)
            _say(trial.page(smtp, pop3, openings(settings)))

    place = Place(settings, state, rights, reactor)
    if settings.workers > 1:
        if foreign:
            _end(f"--auth makes checkers in one process; workers is {settings.workers}")
        if not isinstance(reactor, EPollReactor):
            _end(f"workers is {settings.workers}, and that needs the epoll reactor: leave out --reactor")
        return _supervisor(place, options, warnings, ports, reread, started)
    return LanMail(place, warnings, ports, foreign, reread, started)


def _supervisor(
    place: Place,
    options: Options,
    warnings: Sequence[object],
    ports: Sequence[Listening],
    reread: Callable[[], Reading],
    started: Callable[[], None],
) -> IService:
    """The service of several processes."""
    # Here, since one process alone needs none of it.
    from lanmail.shared.tables import Tables
    from lanmail.workers.births import Births
    from lanmail.workers.output import Output
    from lanmail.workers.supervisor import Supervisor

    with place.rights.as_owner():
        before_the_workers(place.state, log.report)
    output = None if _says_it_plainly(options) else Output()
    load_now()
    # Root's part of the nursery ends before it hears a word of us.
    owner = place.rights.identity if isinstance(place.rights, Guarded) else ()
    descriptors = [port.socket.fileno() for port in ports]
    tables = Tables.create(place.settings.workers)
    inherited = [place.state.lock, tables.fd]
    # What is there now is looked through by none of them, and so stays in memory once.
    gc.collect()
    gc.freeze()
    births = Births(descriptors, inherited, owner, place.reactor, None if output is None else output.fileno())
    return Supervisor(place, warnings, ports, births, tables, output, reread, started)


def _says_it_plainly(options: Options) -> bool:
    """Whether the log goes to the standard output in our own form, so that workers may write there themselves."""
    twist = getattr(options, "parent", None)
    return (
        isinstance(twist, TwistOptions)
        and twist.get("fileLogObserverFactory") is standard_output
        and twist.get("logFile", sys.stdout) is sys.stdout
    )


def _rights(reading: Reading, reactor: Any) -> Rights:
    """Before anything is bound or runs: the guard, where we are root and may start one."""
    settings = reading.accepted()
    return Guarded(settings, reading.file, reactor) if os.geteuid() == 0 else Unguarded(settings)


def go_steadily(reactor: Any) -> None:
    """Have the reactor time by a clock that never jumps. Its own is the one on the wall.

    Set back by a day, that one stops every timer for a day: nothing that is locked or deferred would be tried, no mailbox flushed. Set
    right after a start in 1970, it makes all of them due at once, and cuts off every client. What is under way by the old clock would
    be late by years, so where anything is, somebody else's reactor is left as it is.
    """
    if not reactor.getDelayedCalls():
        reactor.seconds = time.monotonic


def _end(*lines: str) -> NoReturn:
    print(*(f"lanmail: {line}" for line in lines), sep="\n", file=sys.stderr)
    raise SystemExit(1)


def _say(text: str) -> None:
    print(text, flush=True)
