"""Reading a main.cf: from its text, and what the command line said over it, to Settings, and everything that is wrong with it."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from lanmail.config.checks import check_machine, check_whole
from lanmail.config.expansion import Undefined, expand, references
from lanmail.config.machine import THIS_MACHINE, Machine
from lanmail.config.parameters import PARAMETERS, FromMachine, Parameter, Settings, Written
from lanmail.config.postfix import Known, Standing, known, known_parameters
from lanmail.config.problems import COMMAND_LINE, DEFAULT, BadValue, Place, Problem, Severity, Unusable
from lanmail.config.syntax import Assignment, normalised, parse, parse_override, words

__all__ = ["Reading", "Settings", "place_of", "read", "read_text", "suggestion"]

# Where a main.cf is looked for, when nobody says where it is.
PLACES = ("main.cf", "/etc/lanmail/main.cf")


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of reading a configuration.

    file: what it was read from. settings: every parameter; where its value was wrong, at its default. Good to be shown;
    to be used only through ``accepted``. problems: all of them, in the order of the file, then what is wrong with the whole.
    unread: the file itself could not be had; then ``problems`` says so, and what is wrong with the command line.
    """

    file: str
    settings: Settings
    problems: tuple[Problem, ...]
    unread: bool = False

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity is Severity.ERROR)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity is Severity.WARNING)

    def accepted(self) -> Settings:
        """The settings, to start a server with. Raises Unusable where there is an error."""
        if self.errors:
            raise Unusable(self.problems)
        return self.settings


def place_of(named: str | None) -> str | None:
    """The main.cf to read: the one that somebody named, else the first of PLACES that is there; None where there is none."""
    return named or next((place for place in PLACES if os.path.exists(place)), None)


def read(path: str, overrides: Iterable[str] = (), *, machine: Machine = THIS_MACHINE) -> Reading:
    """Read the main.cf at ``path``; ``overrides`` are what ``-o`` was given, each ``name=value``; the last wins.

    Blocking (files, the password database), meant for the start and for a thread at a reload. Never raises: a file that
    cannot be read is a problem like any other.
    """
    try:
        text = machine.read(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reading = read_text("", overrides, file=path, machine=machine)
        why = getattr(error, "strerror", None) or str(error)
        problem = Problem(Severity.ERROR, Place(path), f"cannot be read: {why}")
        # Nobody asked for the defaults that stand in its place: what this machine lacks for them is nobody's trouble.
        said = (one for one in reading.problems if one.place == COMMAND_LINE)
        return Reading(path, reading.settings, (problem, *said), unread=True)
    return read_text(text, overrides, file=path, machine=machine)


def read_text(
    text: str | bytes, overrides: Iterable[str] = (), *, file: str = "main.cf", machine: Machine = THIS_MACHINE
) -> Reading:
    """The same from the text of a main.cf (the try-out makes one); ``file`` is what problems call it."""
    reader = _Reader(machine)
    reader.take(text, file, overrides)
    settings = reader.settings()
    return Reading(file, settings, (*reader.problems, *reader.checked(settings)))


@dataclass(slots=True)
class _Reader:
    """One reading under way. To the kinds of values it is their Context."""

    machine: Machine
    problems: list[Problem] = field(default_factory=list)
    _assigned: dict[str, Assignment] = field(default_factory=dict)
    _texts: dict[str, str] = field(default_factory=dict)
    _reading: str = ""
    _finding: set[str] = field(default_factory=set)
    _broken: dict[str, Assignment] = field(default_factory=dict)

    @property
    def has_errors(self) -> bool:
        return any(problem.severity is Severity.ERROR for problem in self.problems)

    def take(self, text: str | bytes, file: str, overrides: Iterable[str]) -> None:
        assignments, self.problems = parse(text, file)
        for assignment in assignments:
            earlier = self._assigned.get(assignment.name)
            if earlier is not None and earlier.value != assignment.value:
                self._say(
                    Severity.WARNING,
                    assignment.place,
                    f"{assignment.name} was set before, in line {earlier.place.line}",
                )
            self._assigned[assignment.name] = assignment
        for override in overrides:
            try:
                assignment = parse_override(override)
            except BadValue as bad:
                self._say(Severity.ERROR, Place("-o"), str(bad))
            else:
                self._assigned[assignment.name] = assignment

    def settings(self) -> Settings:
        """Judge every name that was written, and read every parameter."""
        for assignment in self._assigned.values():
            self._judge(assignment)
        # What was written comes first: a default can be wrong only where the machine is, or what it is made of.
        assigned = [name for name in PARAMETERS if name in self._assigned]
        values = {name: self._value(PARAMETERS[name]) for name in assigned}
        # From here on a wrong value is as if it had not been written, so that what is made of it gives no second complaint.
        self._broken = {name: self._assigned.pop(name) for name in assigned if values[name] is None}
        self._texts.clear()
        values |= {name: self._value(PARAMETERS[name]) for name in PARAMETERS if values.get(name) is None}
        self.problems.sort(key=lambda problem: problem.place.line if problem.place.line else 1 << 30)
        return Settings({name: values[name] for name in PARAMETERS}, {name: self._written(name) for name in PARAMETERS})

    def checked(self, settings: Settings) -> list[Problem]:
        """What is wrong with the whole; nothing about a parameter whose own value is wrong, since nobody wrote what it has now."""
        if any(value is None for value in settings.values.values()):
            return []
        found = check_whole(settings) + check_machine(settings, self.machine)
        return [problem for problem in found if problem.text.partition(":")[0] not in self._broken]

    # Context

    def text(self, name: str) -> str:
        if name not in self._texts:
            written = self._look_up(name)
            if written is None:
                raise Undefined(name)
            try:
                raw = name in PARAMETERS and PARAMETERS[name].raw
                self._texts[name] = written if raw else expand(written, self._look_up, name)
            except BadValue as bad:
                bad.culprit = bad.culprit or name
                raise
        return self._texts[name]

    def written(self, name: str) -> str | None:
        return self._assigned[name].value if name in self._assigned else None

    def warn(self, text: str) -> None:
        self._say(Severity.WARNING, self._place(self._reading), f"{self._reading}: {text}")

    # within

    def _say(self, severity: Severity, place: Place, text: str) -> None:
        problem = Problem(severity, place, text)
        if problem not in self.problems:
            self.problems.append(problem)

    def _place(self, name: str) -> Place:
        return self._assigned[name].place if name in self._assigned else DEFAULT

    def _look_up(self, name: str) -> str | None:
        if name in self._assigned:
            return self._assigned[name].value
        if name in PARAMETERS:
            return self._default(PARAMETERS[name])
        there = known(name)
        return there.default if there else None

    def _default(self, parameter: Parameter[Any]) -> str:
        if not isinstance(parameter.default, FromMachine):
            return parameter.default
        if parameter.name in self._finding:
            raise BadValue(f"it is made of ${parameter.name}, which is made of it; set {parameter.name} too")
        self._finding.add(parameter.name)
        try:
            return parameter.default.find(self)
        finally:
            self._finding.discard(parameter.name)

    def _value(self, parameter: Parameter[Any]) -> Any:
        """The value; None, which no value is, where there is none, and then that has been said."""
        self._reading = parameter.name
        try:
            return parameter.kind.read(self.text(parameter.name), self)
        except BadValue as bad:
            self._complain(parameter.name, bad)
            return None

    def _complain(self, name: str, bad: BadValue) -> None:
        culprit = bad.culprit or name
        if name not in self._assigned and self.has_errors:
            return
        near = suggestion(bad.name) if isinstance(bad, Undefined) else ""
        for fault in bad.faults:
            self._say(Severity.ERROR, self._place(culprit), f"{culprit}: {fault}{near}")

    def _written(self, name: str) -> Written:
        if name in self._broken:
            return Written(self._broken[name].value, "", self._broken[name].place)
        try:
            return Written(self._look_up(name) or "", self.text(name), self._place(name))
        except BadValue:
            return Written(self.written(name) or "", "", self._place(name))

    def _judge(self, assignment: Assignment) -> None:
        name = assignment.name
        if name in PARAMETERS:
            return
        there = known(name)
        if there is None or (
            there.name not in known_parameters() and difflib.get_close_matches(name, PARAMETERS, 1, 0.9)
        ):
            if not self._refers_to(name):
                self._say(Severity.ERROR, assignment.place, f'unknown parameter "{name}"{suggestion(name)}')
        else:
            self._judge_known(there, assignment)

    def _refers_to(self, name: str) -> bool:
        """Whether another value refers to that name: then it is a parameter of the user's own, as in Postfix.

        A restriction class is referred to without a ``$``.
        """
        if name in words(self.written("smtpd_restriction_classes") or ""):
            return True
        texts = [one.value for one in self._assigned.values() if one.name != name]
        texts += [one.default for one in PARAMETERS.values() if isinstance(one.default, str)]
        return any(name in references(text) for text in texts if name in text)

    def _judge_known(self, there: Known, assignment: Assignment) -> None:
        """A parameter of Postfix that is none of ours."""
        value, default = self._compared(assignment.value), self._compared(there.default)
        if value == default or value in map(self._compared, there.same):
            return
        name, place = assignment.name, assignment.place
        if name == "mailbox_command":
            self._say(Severity.ERROR, place, _command_not_run(name, assignment.value))
        elif there.standing is Standing.DANGEROUS and value not in map(self._compared, there.tolerable):
            self._say(
                Severity.ERROR,
                place,
                f"{name} is not implemented, and without it mail would be taken or delivered otherwise than this asks for;"
                f" remove the line, or give it its default, which is {there.default or 'empty'}",
            )
        elif there.standing is not Standing.NO_EFFECT:
            self._say(Severity.WARNING, place, f"{name} is not implemented; nothing is done about it")
        elif not self._refers_to(name):
            self._say(Severity.NOTE, place, f"{name} has no effect here")

    def _compared(self, text: str) -> str:
        """Expanded as far as possible, separators normalised: equal for two values that Postfix reads alike."""
        try:
            return normalised(expand(text, lambda name: self._look_up(name) or ""))
        except BadValue:
            return normalised(text)


def _command_not_run(name: str, command: str) -> str:
    """Of mailbox_command, which Debian sets wherever procmail is installed: the one error that a newcomer there is sure to meet."""
    program = os.path.basename(command.split()[0])
    what = program if re.fullmatch(r"[\w.+-]+", program) else "a command"
    return f"{name}: {what} is not run here; mail goes into the mailboxes of mail_spool_directory. Remove this line"


def suggestion(name: str) -> str:
    """What was probably meant, of all names in a main.cf; as the end of a sentence, empty where nothing is near."""
    near = difflib.get_close_matches(name.lower(), {**PARAMETERS, **known_parameters()}, 1)
    return f'; did you mean "{near[0]}"?' if near else ""
