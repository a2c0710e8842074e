"""The ``lanmail`` command: a door to its parts, one file each."""

from __future__ import annotations

import click

from lanmail import __version__
from lanmail.admin.certificate import certificate_command
from lanmail.admin.configuration import config_command
from lanmail.admin.device import device_command
from lanmail.admin.passwd import passwd_command
from lanmail.admin.queue import queue_command
from lanmail.admin.why import why_command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lanmail")
def main() -> None:
    """Looks after a lanmail server. The server itself is started with "twist lanmail"."""


main.add_command(certificate_command)
main.add_command(config_command)
main.add_command(device_command)
main.add_command(passwd_command)
main.add_command(queue_command)
main.add_command(why_command)
