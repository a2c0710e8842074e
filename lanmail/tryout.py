"""The try-out: what ``twist lanmail`` runs where there is no main.cf. Loopback, two accounts, everything in one folder.

It is the real server with a main.cf that is written here; only the accounts are a file's instead of the system's.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from lanmail.accounts.hashes import hash_password

FOLDER = "lanmail-data"
DOMAIN = "lan.example"
NAMES = ("julien", "nel")
SMTP_PORT = 2525
POP3_PORT = 1110

MAIN_CF = """\
# The try-out's configuration, written anew at each start. For a network of your own, begin with etc/main.cf.
myhostname = mail.{domain}
mydomain = {domain}
mydestination = {domain}, mail.{domain}, localhost
myorigin = {domain}
inet_interfaces = 127.0.0.1
mynetworks = 127.0.0.0/8
smtp_port = {smtp}
pop3_port = {pop3}
mail_owner = {owner}
queue_directory = {folder}/queue
data_directory = {folder}/data
mail_spool_directory = {folder}/mail
accounts = {{passwd-file:{folder}/passwd}}
alias_maps =
alias_database =
admin_user = julien
# Postfix's defaults, 10 MB for a message and 51 MB for a mailbox, make a real network's mail stop.
message_size_limit = 52428800
mailbox_size_limit = 0
"""


class CannotTry(Exception):
    """The try-out is not for this place; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class TryOut:
    """Where it lies (an absolute path), and its accounts: name and password, in plain, for whoever tries."""

    folder: str
    accounts: dict[str, str]

    @classmethod
    def prepare(cls, working_directory: str) -> TryOut:
        """Make what is missing below ``working_directory``. Raises CannotTry."""
        if os.geteuid() == 0:
            raise CannotTry(
                "there is no main.cf here and none in /etc/lanmail, and the try-out does not run as root: it would leave files that belong"
                " to root, and it needs no rights at all. Run it as an ordinary user, or name a configuration with --config FILE."
            )
        folder = os.path.join(working_directory, FOLDER)
        try:
            for path in (
                folder,
                os.path.join(folder, "mail"),
                os.path.join(folder, "queue"),
                os.path.join(folder, "data"),
            ):
                os.makedirs(path, mode=0o700, exist_ok=True)
            accounts = _accounts(os.path.join(folder, "accounts.txt"))
            _keep(os.path.join(folder, "passwd"), "".join(f"{n}:{hash_password(p)}\n" for n, p in accounts.items()))
            text = MAIN_CF.format(
                domain=DOMAIN,
                smtp=SMTP_PORT,
                pop3=POP3_PORT,
                owner=pwd.getpwuid(os.geteuid()).pw_name,
                folder=folder.replace("$", "$$"),
            )
            _keep(os.path.join(folder, "main.cf"), text)
        except (OSError, KeyError) as error:
            raise CannotTry(f"the try-out cannot keep its files in {folder}: {error}") from error
        return cls(folder, accounts)

    @property
    def main_cf(self) -> str:
        return os.path.join(self.folder, "main.cf")

    def page(self, smtp: str, pop3: str, openings: Sequence[str] = ()) -> str:
        """The start page. ``smtp`` and ``pop3``: host:port where each listens. openings: what is left open (config/openings.py)."""
        lines = [
            "",
            "lanmail is up: the try-out, for this machine alone. Nothing leaves it, nothing needs the Internet.",
            "",
            f"  SMTP (send)    {smtp}",
            f"  POP3 (fetch)   {pop3}",
            f"  mail lies in   {self.folder}/mail/   one mbox file for each user",
            "",
        ]
        lines += [f"  account        {n}@{DOMAIN}   user {n}   password {self.accounts[n]}" for n in NAMES]
        lines += [""] if openings else []
        for line in openings:
            lines += textwrap.wrap(line, 96, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
        lines += ["", "Send a message, and fetch it (in another terminal):", ""]
        lines += [f"  {line}" for line in self.examples(smtp, pop3)]
        lines += ["", f"The passwords are kept in {self.folder}/accounts.txt. Ctrl-C ends the service;"]
        lines += ["remove the folder to forget it all.", ""]
        return "\n".join(lines)

    def examples(self, smtp: str, pop3: str) -> list[str]:
        """Lines for a shell: the first sends from nel to julien, the second fetches the first message; then swaks's, where it is."""
        reader, writer = NAMES
        text = f"From: {writer}@{DOMAIN}\\nTo: {reader}@{DOMAIN}\\nSubject: Hello\\n\\nIt works.\\n"
        lines = [
            f"printf '{text}' | curl -sS --crlf smtp://{smtp} --mail-from {writer}@{DOMAIN} --mail-rcpt {reader}@{DOMAIN} -T -",
            f"curl -sS --user {reader}:{self.accounts[reader]} pop3://{pop3}/1",
        ]
        if shutil.which("swaks"):
            lines.append(f"swaks --server {smtp} --from {writer}@{DOMAIN} --to {reader}@{DOMAIN}")
        return lines


def _accounts(path: str) -> dict[str, str]:
    """The accounts of that file, made and kept the first time."""
    try:
        with open(path, encoding="ascii") as file:
            words = [line.split() for line in file if line.strip() and not line.startswith("#")]
        accounts = {line[0]: line[1] for line in words if len(line) == 2}
        if set(accounts) >= set(NAMES):
            return accounts
    except (FileNotFoundError, UnicodeDecodeError):
        pass
    accounts = {name: secrets.token_hex(5) for name in NAMES}
    _keep(path, "# user, password; made by the first start\n" + "".join(f"{n} {p}\n" for n, p in accounts.items()))
    return accounts


def _keep(path: str, text: str) -> None:
    """Written whole or not at all, 0600."""
    new = f"{path}.new"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="utf-8") as file:
        os.fchmod(fd, 0o600)
        file.write(text)
    os.replace(new, path)
