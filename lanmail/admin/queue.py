"""``lanmail queue``: what waits, why, and what an administrator may do with it."""

from __future__ import annotations

import base64
import codecs
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from lanmail.admin import mailq
from lanmail.admin.asking import Ask, CannotAsk, asked
from lanmail.config.parameters import Settings
from lanmail.config.settings import place_of, read
from lanmail.log_lines import printable
from lanmail.queue.questions import ALL, Question, queue_id

# Queue ids of one question: it has at most 64 KiB.
_IDS = 4000
# Postfix's words (postsuper), where it has them; {} is the number of messages.
_DONE = {
    "flush": "Flushed",
    "hold": "Placed on hold",
    "release": "Released from hold",
    "requeue": "Requeued",
    "delete": "Deleted",
}
# Why nothing was to be done for a message that is there.
_IDLE = {
    "flush": "it is on hold, or being delivered just now",
    "hold": "it is on hold already, or being delivered just now",
    "release": "it is not on hold",
    "requeue": "it is being delivered just now",
    "delete": "it is being delivered just now",
}

Command = TypeVar("Command", bound=Callable[..., Any])


def _checked(context: click.Context, parameter: click.Parameter, ids: Sequence[str]) -> Sequence[str]:
    """Queue ids as we write them, before anything is opened or asked; ALL stays, where the command knows it."""
    or_all = context.command.name != "show"
    also = f", or {ALL}" if or_all else ""
    checked = [ALL if one == ALL and or_all else queue_id(one) for one in ids]
    for one, found in zip(ids, checked, strict=True):
        if found is None:
            raise click.BadParameter(f"{one!r} is no queue id, ten hexadecimal digits as in 222CF6745D{also}")
    if ALL in checked and len(ids) > 1:
        raise click.BadParameter(f"{ALL} is every message: no queue id beside it")
    return [one for one in checked if one is not None]


def _config(command: Command) -> Command:
    help_ = "The main.cf; else ./main.cf, then /etc/lanmail/main.cf."
    return click.option("--config", "-c", "file", metavar="FILE", help=help_)(command)


@click.group("queue", short_help="Show what waits; hold, release or delete it.")
@_config
@click.pass_context
def queue_command(context: click.Context, file: str | None) -> None:
    """Show the mail that waits, and why; try it now, hold it back, or delete it.

    Only root and mail_owner may. The service may run or not. The status is 1 where a message is not there, or nothing could be done.
    """
    context.obj = file


@queue_command.command("list", short_help="What waits, as mailq shows it.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line, as postqueue -j.")
@_config
@click.pass_obj
def list_command(parent: str | None, file: str | None, as_json: bool) -> None:
    """What waits, as mailq shows it: "*" is on its way, "!" on hold, in parentheses why it is late."""
    listing = mailq.Listing()
    with _asked(file or parent) as ask:
        for said in ask(Question("list")):
            if "messages" in said:
                told = said["messages"]
                _print(map(json.dumps, told) if as_json else (line for one in told for line in listing.lines(one)))
    if not as_json:
        _print(listing.end())


@queue_command.command("show", short_help="One message: its envelope and its text.")
@click.argument("ids", metavar="ID...", nargs=-1, required=True, callback=_checked)
@_config
@click.pass_obj
def show_command(parent: str | None, file: str | None, ids: Sequence[str]) -> None:
    """One message: its envelope, how each recipient stands, and its text, made safe for a terminal."""
    missing = False
    with _asked(file or parent) as ask:
        for one in ids:
            missing |= not _show(ask, one)
    if missing:
        raise SystemExit(1)


def _show(ask: Ask, one: str) -> bool:
    # What is cut in the middle of a letter is put together again; what is no UTF-8 is shown by its octets.
    decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
    there = False
    for said in ask(Question("show", (one,))):
        if "message" in said:
            there = True
            _print((f"*** ENVELOPE {one} ***", *mailq.envelope(said["message"]), f"*** MESSAGE {one} ***"))
        elif "text" in said:
            click.echo(mailq.text(decoder.decode(base64.b64decode(said["text"]))), nl=False)
    if there:
        click.echo(mailq.text(decoder.decode(b"", True)), nl=False)
        click.echo(f"*** END {one} ***")
    else:
        _complain(f"{one} is not in the queue")
    return there


def _change(name: str, short: str, help_: str, *, all_at_once: bool = False) -> None:
    @queue_command.command(name, short_help=short, help=help_)
    @click.argument(
        "ids", metavar="[ID]..." if all_at_once else "ID...", nargs=-1, required=not all_at_once, callback=_checked
    )
    @_config
    @click.pass_obj
    def command(parent: str | None, file: str | None, ids: Sequence[str]) -> None:
        every = ALL in ids or not ids
        batches: list[tuple[str, ...] | None] = [None]
        if not every:
            batches = [tuple(ids[at : at + _IDS]) for at in range(0, len(ids), _IDS)]
        with _asked(file or parent) as ask:
            answers = [_last(ask(Question(name, batch))) for batch in batches]
        count = sum(answer["messages"] for answer in answers)
        if count or every:
            click.echo(f"{_DONE[name]}: {count} message{'' if count == 1 else 's'}")
        if name == "flush" and count and not answers[-1]["running"]:
            click.echo("No service is running: tried when it starts.")
        missing = [one for answer in answers for one in answer["missing"]]
        idle = [one for answer in answers for one in answer["idle"]]
        for one in missing:
            _complain(f"{one} is not in the queue")
        for one in idle:
            _complain(f"{one}: {_IDLE[name]}")
        if missing or idle:
            raise SystemExit(1)


_change(
    "flush",
    "Try what is deferred now.",
    "Try what is deferred now: all of it, or these messages. What is on hold stays there.",
    all_at_once=True,
)
_change(
    "hold", "Keep messages from being delivered.", "Keep messages where they are until they are released; ALL for all."
)
_change("release", "Let held messages go on.", "Let messages that are on hold go on; ALL for all.")
_change(
    "requeue",
    "Begin anew with messages.",
    "Begin anew with messages, as if they had just come in, also those on hold; ALL for all. What aliases made of a recipient stays.",
)
_change("delete", "Delete messages, without a report.", "Delete messages. Nobody gets a report. ALL for all.")


@contextmanager
def _asked(file: str | None) -> Iterator[Ask]:
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that cannot show a letter shows its number
    try:
        with asked(_settings(file)) as ask:
            yield ask
    except CannotAsk as reason:
        raise click.ClickException(printable(str(reason))) from reason


def _settings(file: str | None) -> Settings:
    """Also where something else is wrong in main.cf: a service may be running with what it was before."""
    path = place_of(file)
    if path is None:
        raise click.ClickException("there is no ./main.cf and no /etc/lanmail/main.cf; name one with --config")
    reading = read(path)
    place = reading.settings.written["queue_directory"].place
    errors = [error for error in reading.errors if reading.unread or error.place == place]
    if errors:
        raise click.ClickException("\n".join(map(str, errors)))
    return reading.settings


def _last(answer: Iterator[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for said in answer:
        found = said.get("ok", found)
    return found


def _print(lines: Iterable[str]) -> None:
    # At once: click asks four times for each call what kind of terminal it writes to, and then has it written.
    click.echo("".join([f"{line}\n" for line in lines]), nl=False)


def _complain(text: str) -> None:
    click.echo(printable(f"lanmail queue: {text}"), err=True)
