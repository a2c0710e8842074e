"""``lanmail certificate``: what clients are shown, and the authority that they should have."""

from __future__ import annotations

import contextlib
import datetime
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from lanmail.admin.owner import NotAllowed, become_owner
from lanmail.config.parameters import Settings
from lanmail.config.settings import place_of, read
from lanmail.tls.authority import constraints_of, due, within
from lanmail.tls.certificate import common_name, fingerprint, listed, names_of
from lanmail.tls.checking import reader_for
from lanmail.tls.configured import given_files, plan_of
from lanmail.tls.given import DoesNotFit, judge
from lanmail.tls.keeping import Held, Keeping, KeepingTrouble
from lanmail.tls.plan import Plan

PEM_NAME, DER_NAME = "lanmail-ca.crt", "lanmail-ca.cer"

Command = TypeVar("Command", bound=Callable[..., Any])


def _config(command: Command) -> Command:
    help_ = "The main.cf; else ./main.cf, then /etc/lanmail/main.cf."
    return click.option("--config", "-c", "file", metavar="FILE", help=help_)(command)


@click.group("certificate", short_help="What clients are shown, and the authority behind it.")
@_config
@click.pass_context
def certificate_command(context: click.Context, file: str | None) -> None:
    """The certificate that mail programs are shown, and the authority that they should have to trust it.

    docs/clients.md says how each system is given the authority.
    """
    context.obj = file


@certificate_command.command("show", short_help="Names, dates and fingerprint.")
@_config
@click.pass_obj
def show_command(parent: str | None, file: str | None) -> None:
    """What clients are shown: its names, its dates, its fingerprint; and the same of our authority."""
    settings = _settings(file or parent)
    now, plan = datetime.datetime.now(datetime.UTC), plan_of(settings)
    with _sentences():
        given = judge(given_files(settings), reader_for(settings), plan, now)
        for warning in given.warnings:
            click.echo(f"warning: {warning}", err=True)
        for chain in given.chains:
            click.echo("The certificate that main.cf names serves:\n")
            _say(_certificate(chain.certificate))
        held = Keeping(settings.data_directory).held()
        if given.chains:
            return
        if held is None:
            raise click.ClickException(
                "there is no certificate yet: it is made at the first start, or now with: lanmail certificate renew"
            )
    _show_ours(held, plan, now)


def _show_ours(held: Held, plan: Plan, now: datetime.datetime) -> None:
    if held.chain is not None:
        certificate = held.chain.certificate
        click.echo("Our own certificate serves:\n")
        _say(_certificate(certificate))
        if why := due(certificate, held.authority, plan, now):
            click.echo(f"\nIt is due to be made anew: {why}.")
    else:
        click.echo("There is no certificate now; it is made at the next start.")
    left_out = within(held.authority, plan)[2]
    if left_out:
        click.echo(f"\nNot named, since our authority may not sign for it: {listed(left_out)}")
    click.echo("\nOur authority, which clients should have (lanmail certificate export-ca):\n")
    _say([*_called(held.authority), ("signs for", ", ".join(constraints_of(held.authority)))])


@certificate_command.command("renew", short_help="Make our certificate anew, now.")
@click.option(
    "--authority", "authority", is_flag=True, help="A new authority too: every client must be given it again."
)
@click.option("--yes", "sure", is_flag=True, help="With --authority: do not ask.")
@_config
@click.pass_obj
def renew_command(parent: str | None, authority: bool, sure: bool, file: str | None) -> None:
    """Make our certificate anew; the first time, the authority too. By itself this happens whenever it is due."""
    settings = _settings(file or parent)
    keeping, plan = Keeping(settings.data_directory), plan_of(settings)
    if authority and not sure:
        click.confirm(
            "Clients that have the authority will trust nothing of us until they have the new one. Go on?", abort=True
        )
    with _sentences():
        if os.path.isdir(keeping.path) and os.lstat(keeping.path).st_uid != os.geteuid():
            become_owner(keeping.path)
        kept = keeping.keep(
            plan,
            datetime.datetime.now(datetime.UTC),
            old_devices=bool(settings.tls_legacy_clients),
            new_certificate=True,
            new_authority=authority,
        )
    for sentence in kept.news:
        click.echo(sentence)
    click.echo(f"its SHA-256 is {fingerprint(kept.chain.certificate)}")
    click.echo("A running service shows it within the hour, and at once after: systemctl reload lanmail")


@certificate_command.command("export-ca", short_help="Our authority, as files for clients.")
@click.argument("folder", required=False, default=".", metavar="[FOLDER]")
@_config
@click.pass_obj
def export_command(parent: str | None, folder: str, file: str | None) -> None:
    """Write our authority's certificate into FOLDER (else here), as PEM and as DER; with - as PEM to standard output.

    There is nothing secret in it: put it where everybody finds it. What to do with it is in docs/clients.md.
    """
    keeping = Keeping(_settings(file or parent).data_directory)
    with _sentences():
        held = keeping.held()
        if held is None:
            raise click.ClickException(
                "there is no authority yet: it is made at the first start, or now with: lanmail certificate renew"
            )
        authority = held.authority
        if folder == "-":
            click.echo(authority.public_bytes(Encoding.PEM), nl=False)
            return
        for name, form, called in ((PEM_NAME, Encoding.PEM, "PEM"), (DER_NAME, Encoding.DER, "DER")):
            path = os.path.join(folder, name)
            _write(path, authority.public_bytes(form))
            click.echo(f"{path}  ({called})")
    click.echo(f"SHA-256 {fingerprint(authority)}")


def _settings(file: str | None) -> Settings:
    path = place_of(file)
    if path is None:
        raise click.ClickException("there is no ./main.cf and no /etc/lanmail/main.cf; name one with --config")
    reading = read(path)
    if reading.errors:
        raise click.ClickException("\n".join(map(str, reading.errors)))
    return reading.settings


@contextlib.contextmanager
def _sentences() -> Iterator[None]:
    """What went wrong, as this command says it."""
    try:
        yield
    except (KeepingTrouble, NotAllowed, DoesNotFit) as trouble:
        hint = " (only root may do this)" if "Permission denied" in str(trouble) and os.geteuid() != 0 else ""
        raise click.ClickException(f"{trouble}{hint}") from trouble
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from error


def _certificate(certificate: x509.Certificate) -> list[tuple[str, str]]:
    names, addresses = names_of(certificate)
    return [*_called(certificate), ("names", ", ".join(names)), ("addresses", ", ".join(map(str, addresses)))]


def _called(certificate: x509.Certificate) -> list[tuple[str, str]]:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return [
        ("called", common_name(certificate)),
        ("valid", f"{begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"),
        ("SHA-256", fingerprint(certificate)),
    ]


def _say(rows: Sequence[tuple[str, str]]) -> None:
    for what, value in rows:
        # A certificate that was given may say anything of itself.
        printable = "".join(char if char.isprintable() else "?" for char in value)
        click.echo(f"  {what:<10} {printable}")


def _write(path: str, data: bytes) -> None:
    """Whole or not at all, for everybody to read. OSError."""
    fd, draft = tempfile.mkstemp(dir=os.path.dirname(path) or ".")
    try:
        with open(fd, "wb") as file:
            os.fchmod(fd, 0o644)
            file.write(data)
        os.replace(draft, path)
    except OSError:
        os.unlink(draft)
        raise
