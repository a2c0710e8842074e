"""``lanmail passwd``: the accounts of a passwd-file, without an editor."""

from __future__ import annotations

import pwd
import sys

import click

from lanmail.accounts.hashes import LONGEST_PASSWORD
from lanmail.accounts.names import is_login_name
from lanmail.accounts.passwd_edit import delete, owners_for_editing, set_password
from lanmail.accounts.passwd_file import UnsafeFile, read_passwords
from lanmail.config.settings import place_of, read


@click.command("passwd", short_help="Set passwords of a passwd-file, list or delete its accounts.")
@click.argument("name", required=False)
@click.option(
    "--file", "file", type=click.Path(), help="The passwd-file. Without it, the one that main.cf names in accounts."
)
@click.option(
    "--config", "-c", type=click.Path(), help="The main.cf to look in; by default ./main.cf, then /etc/lanmail/main.cf."
)
@click.option("--stdin", is_flag=True, help="Read the password from one line of standard input.")
@click.option("--delete", "deleting", is_flag=True, help="Take the account out of the file. Its mailbox stays.")
@click.option("--list", "listing", is_flag=True, help="Print the names in the file, one a line.")
def passwd_command(
    name: str | None, file: str | None, config: str | None, stdin: bool, deleting: bool, listing: bool
) -> None:
    """Set the password of NAME, who becomes an account of the file where it is not one yet.

    A running server sees the change within a second.
    """
    if listing + deleting + stdin > 1 or listing == (name is not None):
        raise click.UsageError("give a NAME, or --list; and at most one of --stdin, --delete, --list")
    if name is not None and not is_login_name(name):
        raise click.UsageError(f"{name!r} cannot be a login name: letters, digits, _ . - and at most 32 of them")
    owner = None
    if file is None:
        file, owner = _from_main_cf(config, name)
    try:
        if listing:
            _list(file)
        elif deleting:
            _delete(file, name or "")
        else:
            _set(file, name or "", _from_stdin() if stdin else _asked(name or ""), owner)
    except UnsafeFile as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or file}: {error.strerror}") from error
    except ValueError as error:
        raise click.ClickException(str(error)) from error


def _from_main_cf(config: str | None, name: str | None) -> tuple[str, tuple[int, int] | None]:
    """The passwd-file that main.cf names, and whose it is."""
    path = place_of(config)
    if path is None:
        raise click.ClickException(
            "there is no main.cf here and none in /etc/lanmail: say which with --config, or --file"
        )
    reading = read(path)
    files = [source.path for source in reading.settings.accounts if source.kind == "passwd-file"]
    if len(files) > 1:
        raise click.ClickException(f"{path} names several files in accounts; say which with --file: {' '.join(files)}")
    if not files and reading.errors:
        raise click.ClickException("\n".join(str(error) for error in reading.errors))
    if not files:
        raise click.ClickException(
            f"the accounts of {path} are the system's: their passwords are set with: passwd {name or 'NAME'}"
        )
    return files[0], _owner(reading.settings.mail_owner)


def _owner(mail_owner: str) -> tuple[int, int] | None:
    """Whose a new file is, since the server reads it as that user; where there is none yet, whoever makes it."""
    try:
        entry = pwd.getpwnam(mail_owner)
    except KeyError:
        return None
    return entry.pw_uid, entry.pw_gid


def _list(file: str) -> None:
    passwords = read_passwords(file, owners_for_editing(file))
    for name in passwords.names():
        click.echo(name)
    for problem in passwords.problems:
        click.echo(problem, err=True)


def _delete(file: str, name: str) -> None:
    if not delete(file, name):
        raise click.ClickException(f"{file} has no account {name}")
    click.echo(f"{name} has no account in {file} any more")


def _set(file: str, name: str, password: str, owner: tuple[int, int] | None) -> None:
    known = set_password(file, name, password, owner=owner)
    click.echo(f"{name} has an account in {file} now" if known is None else f"{known} has a new password in {file}")


def _asked(name: str) -> str:
    if not _at_a_terminal():  # getpass would warn of that at length, and read on
        raise click.UsageError("standard input is not a terminal; use --stdin")
    password: str = click.prompt(f"Password for {name}", hide_input=True, confirmation_prompt="Once more")
    return password


def _at_a_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _from_stdin() -> str:
    line = sys.stdin.buffer.readline(LONGEST_PASSWORD + 2)
    return line.removesuffix(b"\n").removesuffix(b"\r").decode()
