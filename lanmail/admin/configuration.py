"""``lanmail config``: what a main.cf comes to, and what is wrong with it."""

from __future__ import annotations

import click

from lanmail.config.describe import describe
from lanmail.config.parameters import PARAMETERS
from lanmail.config.postfix import known_parameters
from lanmail.config.settings import Reading, place_of, read, suggestion
from lanmail.spool.ground import doubts
from lanmail.tls.checking import judged


@click.command("config", short_help="Show what is configured, and what is wrong.")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--config", "-c", "file", metavar="FILE", help="The main.cf; else ./main.cf, then /etc/lanmail/main.cf.")
@click.option("-o", "overrides", metavar="NAME=VALUE", multiple=True, help="A parameter, over what the file says.")
@click.option("--all", "everything", is_flag=True, help="Show every parameter, those at their default too.")
@click.option("--expand", "-x", is_flag=True, help="With NAMEs: with every $name replaced by its value.")
@click.option("--values", "-h", "bare", is_flag=True, help="With NAMEs: the values alone, without their names.")
def config_command(
    names: tuple[str, ...], file: str | None, overrides: tuple[str, ...], everything: bool, expand: bool, bare: bool
) -> None:
    """Show what is configured and what is wrong with it; with NAMEs, those parameters alone, as postconf does.

    Without NAMEs the status is 1 if there is an error: then a server would not start. Ports and rights are seen at the start.
    """
    path = place_of(file)
    if path is None:
        raise click.ClickException("there is no ./main.cf and no /etc/lanmail/main.cf; name one with --config")
    reading = read(path, overrides)
    if names:
        _show(reading, names, expand, bare)
        return
    reading = judged(reading)
    ground = doubts(reading.settings.queue_directory)
    click.echo(describe(reading, everything=everything, ground=ground))
    if reading.errors:
        raise SystemExit(1)


def _show(reading: Reading, names: tuple[str, ...], expand: bool, bare: bool) -> None:
    unknown = [name for name in names if name not in PARAMETERS]
    for name in names:
        if name in PARAMETERS:
            written = reading.settings.written[name]
            value = written.expanded if expand else written.text
            click.echo(value if bare else f"{name} = {value}".rstrip())
    for name in unknown:
        there = known_parameters().get(name)
        if there is not None:
            trouble = f"{name} is Postfix's; lanmail does not have it: {there.standing.meaning}"
        else:
            trouble = f'unknown parameter "{name}"{suggestion(name)}'
        click.echo(f"lanmail config: {trouble}", err=True)
    if unknown:
        raise SystemExit(1)
