"""Writes docs/reference/parameters.md and etc/main.cf from the table: ``python -m lanmail.config.reference``, in the project's folder."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

from lanmail.config.parameters import PARAMETERS, SECTIONS, FromMachine, Parameter
from lanmail.config.postfix import Known, Standing, known_parameters

REFERENCE = os.path.join("docs", "reference", "parameters.md")
MAIN_CF = os.path.join("etc", "main.cf")

# What etc/main.cf sets, with what there is to say beyond the parameter's own line.
EXAMPLE: dict[str, tuple[str, str]] = {
    "queue_directory": ("/var/spool/lanmail", ""),
    "command_directory": ("/usr/sbin", ""),
    "daemon_directory": ("/usr/libexec/postfix", ""),
    "mail_owner": (
        "lanmail",
        "Make it with: useradd -r -M -d /nonexistent -s /usr/sbin/nologin lanmail",
    ),
    "inet_interfaces": ("all", ""),
    "mynetworks": (
        "192.168.1.0/24, 127.0.0.0/8, [::1]/128",
        "The local network, and this machine itself.",
    ),
    "mynetworks_may_send_as": (
        "nobody-local",
        "So nobody writes in a colleague's name. Machines that send in a user's name without a login, such as a web server, then need"
        " one, or a line in device_table; what the service's own machine has to tell, cron's mail say, needs neither.",
    ),
    "myhostname": ("srvlinux.iscb-corporation.com", ""),
    "mydomain": ("iscb-corporation.com", ""),
    "mydestination": ("$mydomain, $myhostname, localhost.$mydomain, localhost", ""),
    "myorigin": ("$mydomain", ""),
    "relay_domains": ("$mydestination", ""),
    "mail_spool_directory": ("/var/spool/mail", ""),
    "message_size_limit": (
        "52428800",
        "50 MiB here: at Postfix's default, 10 MB, a handful of photographs is refused.",
    ),
    "mailbox_size_limit": (
        "0",
        "No limit here: at Postfix's default, 51 MB, the mailbox of whoever leaves mail on the server is soon full, and"
        " then all mail for it is put off. Quotas of the file system are the better limit: they count everything a user has.",
    ),
}

_OPENING = """\
# /etc/lanmail/main.cf: the mail of one local network.
#
# The grammar, the names and the meanings are Postfix's (postconf(5)), so a Postfix's main.cf works here too. A line that begins
# with white space continues the one before; $name stands for another parameter's value. The lines below that begin with
# # and a name show a parameter at its default. What is configured, and what is wrong with it, is shown by
#
#     lanmail config -c /etc/lanmail/main.cf
#
# Made from the table in lanmail/config/parameters.py; docs/reference/parameters.md says more.
"""


def main_cf() -> str:
    """The commented main.cf that is shipped."""
    lines = [_OPENING]
    for name, parameter in PARAMETERS.items():
        if name in SECTIONS:
            lines += [f"# --- {SECTIONS[name]} ---", ""]
        value, more = EXAMPLE.get(name, ("", ""))
        lines += textwrap.wrap(f"{parameter.meaning} {more}".strip(), 116, initial_indent="# ", subsequent_indent="# ")
        if name in EXAMPLE:
            lines += [f"{name} = {value}", ""]
        elif isinstance(parameter.default, FromMachine):
            lines += [f"#{name} = ({parameter.default.shown.replace('`', '')})", ""]
        else:
            lines += [f"#{name} = {parameter.default}".rstrip(), ""]
    return "\n".join(lines)


def reference() -> str:
    """docs/reference/parameters.md."""
    return "\n".join([_INTRODUCTION, *_differences(), _CLASSES, *_dangerous(), *_tables()]) + "\n"


_INTRODUCTION = """\
# Parameters

<!-- Made by `python -m lanmail.config.reference` from lanmail/config/parameters.py; changes here are lost. -->

lanmail reads `main.cf` in Postfix's grammar, with Postfix's names, meanings and defaults where Postfix has them. It is looked for
at `--config`, then as `./main.cf`, then as `/etc/lanmail/main.cf`. `-o name=value` on the command line wins over the file; in the
file the later line wins. `lanmail config` shows what a file comes to, and everything that is wrong with it.

## How values are written

- **Lines.** `name = value`. A line that begins with white space continues the one before. A line that begins with `#`, behind
  white space or not, is a comment, and it may stand among the lines of one value; so may blank lines. A `#` behind a value is
  part of the value. Comments may be in UTF-8 or in Latin-1. A backslash is a character like any other.
- **References.** `$name`, `$(name)` or `${name}` stands for another parameter's value. `${name?text}` is the text where that value
  is not empty, `${name:text}` where it is, `${name?{text}:{text}}` one or the other. `${{a} == {b} ? {c} : {d}}` compares, with
  `==` `!=` `<` `<=` `>` `>=`: as numbers where both are digits, otherwise as text, and as releases with `<level` and the like.
  `$$` is a dollar sign. A value that leads to itself is an error. A name that nobody knows is one too, unless another value refers
  to it: then it is a parameter of your own.
- **Lists.** Separated by commas, white space, or both.
- **Lists of domains and of networks.** Read from left to right; the first pattern that matches decides, and `!` before it turns it
  round. `/file` stands for the patterns in that file. `hash:/file` stands for the keys in that file, and so do `texthash:`,
  `lmdb:`, `btree:`, `cdb:`, `dbm:` and `sdbm:`: the text itself is read, and no `postmap` is needed. `pcre:`, `regexp:`, `cidr:`,
  `ldap:` and the other types are errors. IPv6 networks have brackets, `[fd00::]/8`, as Postfix wants them; without brackets, `fd00::/8`,
  they are taken too. A network with bits behind its netmask is an error.
- **Lists of alias files.** `hash:/etc/aliases`, with the same types; a path without a type, `/etc/aliases`, is that text file too.
- **Times.** A whole number with `s` (seconds, also without a letter), `m`, `h`, `d` or `w`.
- **Octets.** A whole number in digits alone; 0 is "no limit" where the parameter says so.
- **Ports.** 0 to 65535; 0 is "none".

## Defaults that are not Postfix's
"""

_CLASSES = """
## Parameters of Postfix that lanmail does not have

All of them are known by name (`lanmail/config/postfix.txt`), and what becomes of one depends on what it is about. Set to its
default, which is compared with separators made alike, or to a value that asks for what is done here anyhow, it is passed over in
silence. Otherwise:

- **No effect here.** It is about a part that lanmail does not have (the queue manager, the SMTP client, the master). `lanmail config`
  and `--check` list it; the log does not. Example: `biff = no`.
- **Not implemented.** Something will be done differently than the line asks for. A warning. Example: `smtpd_helo_required`.
- **Not implemented, and it would change who may send or where mail goes.** An error, and the server does not start: remove the line once
  you know what is to happen instead.

A client that is not in `mynetworks` and sends to a domain that is not ours is answered `554 5.7.1`, for good, also where
`smtpd_relay_restrictions` says `defer_unauth_destination`, at which Postfix answers `454`: nothing would change by trying again.

Nor does a default promise everything that it does in Postfix: `user%domain` and `host!user` are not rewritten (`allow_percent_hack`,
`swap_bangpath`), an alias to a `|command` or a `/file` is refused, and in a `.forward` such a line is not followed
(`allow_mail_to_commands`, `allow_mail_to_files`).

The parameters of the last kind:
"""


def _differences() -> Iterator[str]:
    for name, parameter in PARAMETERS.items():
        if parameter.differs:
            theirs = known_parameters()[name].default
            yield f"- `{name}` is {_shown(parameter)}, in Postfix {f'`{theirs}`' if theirs else 'empty'}: {parameter.differs}."
    yield (
        "- `max_connections` stands in place of `default_process_limit`, which limits Postfix's processes: here there is one process,"
        " and a connection is cheap."
    )


def _dangerous() -> Iterator[str]:
    for there in known_parameters().values():
        if there.standing is Standing.DANGEROUS:
            yield f"- `{there.name}`{_also(there)}"
    yield ""


def _also(there: Known) -> str:
    """Which values besides the default may stand there."""
    said = [f"`{value}`" if value else "empty" for value in there.same]
    said += [f"`{value}` (with a warning)" for value in there.tolerable]
    return f"; may also be {'; '.join(said)}" if said else ""


def _tables() -> Iterator[str]:
    for name, parameter in PARAMETERS.items():
        if name in SECTIONS:
            yield f"\n## {SECTIONS[name]}\n"
        yield from _entry(name, parameter)


def _entry(name: str, parameter: Parameter[Any]) -> Iterator[str]:
    yield f"### {name}\n"
    yield f"{parameter.kind.title}; default: {_shown(parameter)}{'; not in Postfix' if parameter.ours else ''}\n"
    yield parameter.meaning
    if name in EXAMPLE and EXAMPLE[name][1]:
        yield f"\nIn the shipped `etc/main.cf`: `{EXAMPLE[name][0]}`. {EXAMPLE[name][1]}"
    yield ""


def _shown(parameter: Parameter[Any]) -> str:
    if isinstance(parameter.default, FromMachine):
        return parameter.default.shown
    return f"`{parameter.default}`" if parameter.default else "empty"


def main() -> None:
    """Write both, below the folder that we are in."""
    for path, text in ((REFERENCE, reference()), (MAIN_CF, main_cf())):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        print(path, file=sys.stderr)


if __name__ == "__main__":
    main()
