"""``lanmail device``: the machines that send without a login."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from lanmail.accounts import device_edit
from lanmail.accounts.devices import BadTable, read_table
from lanmail.config import devices
from lanmail.config.devices import Device
from lanmail.config.parameters import Settings
from lanmail.config.problems import BadValue
from lanmail.config.settings import place_of, read

Command = TypeVar("Command", bound=Callable[..., Any])


def _config(command: Command) -> Command:
    help_ = "The main.cf; else ./main.cf, then /etc/lanmail/main.cf."
    return click.option("--config", "-c", "file", metavar="FILE", help=help_)(command)


@click.group("device", short_help="Let printers and scanners send without a login.")
@_config
@click.pass_context
def device_command(context: click.Context, file: str | None) -> None:
    """Machines that send by plain SMTP without a login, each always from the same address.

    They stand in the file that device_table names in main.cf. A running server sees a change within a second.
    """
    context.obj = file


@device_command.command("add", short_help="One more, or a network of them.")
@click.argument("network", metavar="ADDRESS|NETWORK")
@click.option("--from", "sender", metavar="ADDRESS", required=True, help="The envelope sender of all that it sends.")
@click.option(
    "--to",
    "to",
    metavar="ADDRESS",
    multiple=True,
    help="The only recipients; or: anywhere. Else all who have mail here.",
)
@click.option(
    "--rate",
    "rate",
    metavar="N/h",
    default=str(devices.USUAL_RATE),
    help="Messages each may send, or none for no limit; 60/h.",
)
@_config
@click.pass_obj
def add_command(parent: str | None, network: str, sender: str, to: Sequence[str], rate: str, file: str | None) -> None:
    """Let ADDRESS, or every machine of NETWORK, send from the address --from.

    An address without a domain gets myorigin's. Of two networks that contain a machine, the smaller one's line counts.
    """
    settings = _settings(file or parent)
    with _sentences(_table(settings)) as path:
        device = _device(settings, network, sender, to, rate)
        device_edit.add(path, device)
        click.echo(f"{path}: {device}")


@device_command.command("list", short_help="Which there are.")
@_config
@click.pass_obj
def list_command(parent: str | None, file: str | None) -> None:
    """The devices, a line each, as the file has them, with everything that it leaves unsaid."""
    with _sentences(_table(_settings(file or parent))) as path:
        rows = [
            (one.place, f"from={one.sender}", f"to={one.to}", f"rate={one.rate or 'none'}")
            for one in read_table(path).devices
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@device_command.command("remove", short_help="One less.")
@click.argument("network", metavar="ADDRESS|NETWORK")
@_config
@click.pass_obj
def remove_command(parent: str | None, network: str, file: str | None) -> None:
    """Take the line of exactly this ADDRESS or NETWORK out of the file."""
    with _sentences(_table(_settings(file or parent))) as path:
        where = devices.network(network)
        if not device_edit.remove(path, where):
            raise click.ClickException(f"{path} has no line for {network}")
        click.echo(f"{network} is not in {path} any more")


def _settings(file: str | None) -> Settings:
    path = place_of(file)
    if path is None:
        raise click.ClickException("there is no ./main.cf and no /etc/lanmail/main.cf; name one with --config")
    reading = read(path)
    if reading.unread:
        raise click.ClickException("\n".join(map(str, reading.errors)))
    # What else may be wrong with it is no reason not to: the file is found by two parameters, which have defaults.
    return reading.settings


def _table(settings: Settings) -> str:
    if not settings.device_table:
        raise click.ClickException("device_table is set to nothing in main.cf: there is no file for devices")
    return settings.device_table


def _device(settings: Settings, network: str, sender: str, to: Sequence[str], rate: str) -> Device:
    def whole(text: str) -> str:
        return text if "@" in text or text in ("anywhere", "local") else f"{text}@{settings.myorigin}"

    words = [word for option in to for word in option.split(",")]
    return Device(
        devices.network(network),
        devices.address(whole(sender)),
        *devices.recipients(",".join(map(whole, words)) or "local"),
        devices.rate(rate),
    )


@contextmanager
def _sentences(path: str) -> Iterator[str]:
    try:
        yield path
    except BadTable as bad:
        raise click.ClickException("\n".join(bad.lines)) from bad
    except BadValue as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise click.ClickException(str(error)) from error
