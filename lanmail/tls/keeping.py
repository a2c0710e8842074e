"""Where our authority and our certificate lie: ``data_directory/lanmail``, whose owner alone may look into it.

What runs here needs the rights of that owner, which is root for an installed service. The authority's key never leaves this folder.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography import x509

from lanmail.tls.authority import RENEW_BEFORE, due, issue, make_authority, within
from lanmail.tls.certificate import Chain, NotACertificate, chains_in, common_name, fingerprint, fits, listed
from lanmail.tls.plan import Plan

# A key and its certificate are in one file, so that one rename changes both: a crash leaves no key beside another's certificate.
AUTHORITY = "authority.pem"
CERTIFICATE = "certificate.pem"
FOR_OLD_DEVICES = "certificate-rsa.pem"
LONGEST_FILE = 256 * 1024

# A small machine without a battery begins in 1970 until it is told the time; an authority of that year would be at its end in 1980.
NOT_BEFORE = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


class KeepingTrouble(Exception):
    """There is no certificate to be had from here; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Held:
    """What lies in the folder.

    authority: without its key. chain: our certificate, None where there is none or it is broken. old_devices: the same, for them.
    """

    authority: x509.Certificate
    chain: Chain | None
    old_devices: Chain | None


@dataclass(frozen=True, slots=True)
class Kept:
    """chain: to be served. old_devices: the same with an RSA key, where it was asked for. authority: without its key.

    left_out: names and addresses that the authority may not sign for. news: sentences for the log, of what was made, and of what to
    think of.
    """

    chain: Chain
    old_devices: Chain | None
    authority: x509.Certificate
    left_out: tuple[str, ...]
    news: tuple[str, ...]


class Keeping:
    """The files of our authority. Two processes may use it at once: whoever makes something waits for the other."""

    def __init__(self, data_directory: str) -> None:
        self.path = os.path.join(data_directory, "lanmail")

    def keep(
        self,
        plan: Plan,
        now: datetime.datetime,
        *,
        old_devices: bool = False,
        new_certificate: bool = False,
        new_authority: bool = False,
    ) -> Kept:
        """What to serve, with everything made that is missing or due. Blocking, some milliseconds. Raises KeepingTrouble.

        Where nothing was made, the chain is the one of the last time, octet for octet. ``new_…``: made anew although it would do.
        """
        now = max(now, NOT_BEFORE)
        with self._trouble_told(), self._folder(make=True) as folder:
            authority, news = self._authority(folder, plan, now, new_authority)
            told = list(news)
            chain, why = self._chain(folder, CERTIFICATE, authority, plan, now, new_certificate or bool(news))
            told += [f"a new certificate for {plan.host} was made: {why}"] if why else []
            rsa = None
            if old_devices:
                rsa, _ = self._chain(folder, FOR_OLD_DEVICES, authority, plan, now, new_certificate or bool(news))
        signer = authority.certificate
        _, _, left_out = within(signer, plan)
        if left_out:
            told.append(
                f"our certificate does not name {listed(left_out)}: that is outside of what its authority may sign for."
                " A new authority may: lanmail certificate renew --authority; every client must then be given it"
            )
        if now > signer.not_valid_after_utc - 2 * RENEW_BEFORE:
            told.append(
                f"our authority ends on {signer.not_valid_after_utc:%Y-%m-%d}; before that make a new one with: lanmail certificate"
                " renew --authority, and give it to every client"
            )
        return Kept(chain, rsa, signer, left_out, tuple(told))

    def held(self) -> Held | None:
        """What is there, and nothing made; None where there is no authority yet. Raises KeepingTrouble.

        Root may look into anybody's.
        """
        with self._trouble_told():
            try:
                with self._folder(make=False) as folder:
                    authority = self._read_authority(folder)
                    if authority is None:
                        return None
                    chains = [_good(_read(folder, name)) for name in (CERTIFICATE, FOR_OLD_DEVICES)]
                    return Held(authority.certificate, *chains)
            except FileNotFoundError:
                return None

    # within

    def _authority(self, folder: int, plan: Plan, now: datetime.datetime, new: bool) -> tuple[Chain, tuple[str, ...]]:
        """It, and what there is to tell: nothing where it was there."""
        if not new:
            found = self._read_authority(folder)
            if found is not None and now <= found.certificate.not_valid_after_utc:
                return found, ()
        made = make_authority(plan, now)
        _write(folder, AUTHORITY, made.text)
        certificate = made.certificate
        return made, (
            f"{common_name(certificate)} was made (SHA-256 {fingerprint(certificate)}); clients trust our certificate once they"
            " have it: lanmail certificate export-ca",
        )

    def _read_authority(self, folder: int) -> Chain | None:
        """None where there is none. A broken one is not replaced: the network's devices may have it, and a backup too."""
        text = _read(folder, AUTHORITY)
        if text is None:
            return None
        found = _good(text)
        if found is None:
            raise KeepingTrouble(
                f"{self.path}/{AUTHORITY} holds no authority: put it back from a backup, or make a new one, which every client must"
                " then be given, with: lanmail certificate renew --authority"
            )
        return found

    @staticmethod
    def _chain(
        folder: int, name: str, authority: Chain, plan: Plan, now: datetime.datetime, new: bool
    ) -> tuple[Chain, str]:
        """The certificate in that file, and why it was made anew just now; empty where it was not."""
        found = _good(_read(folder, name))
        why = "it was asked for" if found and new else "there was none"
        if found is not None and not new:
            why = due(found.certificate, authority.certificate, plan, now)
            if not why:
                return found, ""
        made = issue(authority, plan, now, for_old_devices=name == FOR_OLD_DEVICES).chain
        _write(folder, name, made.text)
        return made, why

    @contextlib.contextmanager
    def _folder(self, *, make: bool) -> Iterator[int]:
        """The folder, open, and nobody else's for as long; 0700. OSError, KeepingTrouble."""
        if make:
            os.makedirs(os.path.dirname(self.path), mode=0o755, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.mkdir(self.path, 0o700)
        # All files are opened through this descriptor. data_directory may be another service's (a Postfix's is its mail_owner's), who
        # could put another folder in place of ours at any moment.
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            facts = os.fstat(folder)
            if facts.st_uid != os.geteuid() and (make or os.geteuid() != 0):
                raise KeepingTrouble(f"{self.path} belongs to uid {facts.st_uid}, and we are uid {os.geteuid()}")
            if make and stat.S_IMODE(facts.st_mode) != 0o700:
                os.fchmod(folder, 0o700)
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield folder
        finally:
            os.close(folder)

    @contextlib.contextmanager
    def _trouble_told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise KeepingTrouble(f"{error.filename or self.path}: {error.strerror} (data_directory)") from error


def _good(text: bytes | None) -> Chain | None:
    """The key and its certificate, if that is what the text is."""
    for chain in chains_in(text or b""):
        try:
            return chain if fits(chain) else None
        except NotACertificate:
            return None
    return None


def _read(folder: int, name: str) -> bytes | None:
    """None where it is not there. OSError; KeepingTrouble for what is no file of ours."""
    try:
        # O_NONBLOCK: a fifo must not hold us up.
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return None
    with open(fd, "rb") as file:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.fstat(folder).st_uid:
            raise KeepingTrouble(f"{name} in data_directory/lanmail is not a file of ours")
        if facts.st_mode & 0o077:  # a backup may have come back with other rights
            os.fchmod(fd, 0o600)
        return file.read(LONGEST_FILE)


def _write(folder: int, name: str, text: bytes) -> None:
    """Whole or not at all, on stable storage, 0600. OSError."""
    draft = f"{name}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(draft, dir_fd=folder)  # of a process that was killed; nobody else has the folder now
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(draft, flags, 0o600, dir_fd=folder), "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)
