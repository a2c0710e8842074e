"""Certificates that main.cf names: read, and judged whether they can serve. Where one cannot, ours does, and that is said."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lanmail.files import Open, Signature, look, open_plainly
from lanmail.tls.certificate import (
    Chain,
    NotACertificate,
    certificates_in,
    chains_in,
    covers,
    fits,
    keys_in,
    listed,
    names_of,
)
from lanmail.tls.openssl import trouble_with
from lanmail.tls.plan import LOCALHOST, Plan

Read = Callable[[str], bytes]
"""A file, whole. Raises OSError."""

OURS_SERVES = "our own certificate serves in its place"


class DoesNotFit(Exception):
    """A key that is not its certificate's. Whoever set that up meant something else, so nothing is served in its place."""


@dataclass(frozen=True, slots=True)
class GivenFiles:
    """Of main.cf. chain_files: where there are any, only they count. key: the same file as ``certificate`` where they are in one."""

    certificate: str = ""
    key: str = ""
    chain_files: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """Every file that is read."""
        pair = (self.certificate, self.key) if self.certificate else ()
        return self.chain_files or tuple(dict.fromkeys(path for path in pair if path))


@dataclass(frozen=True, slots=True)
class Given:
    """chains: those that can serve; none where ours must. warnings: why others cannot, each naming its parameter."""

    chains: tuple[Chain, ...] = ()
    warnings: tuple[str, ...] = ()


def judge(files: GivenFiles, read: Read, plan: Plan, now: datetime.datetime) -> Given:
    """Whether the given certificates can serve, now. Raises DoesNotFit. Blocking, a few milliseconds.

    One that is good today may have ended tomorrow: ask again, at least once a day.
    """
    warnings: list[str] = []
    good: list[Chain] = []
    if files.chain_files:
        found = _from_chain_files(files.chain_files, read, warnings)
    elif files.certificate:
        found = _from_pair(files, read, warnings)
    else:
        return Given()
    for parameter, path, chain in found:
        why = _why_not(parameter, path, chain, plan, now)
        if why:
            warnings.append(f"{parameter}: {path}: {why}")
        else:
            good.append(chain)
    if not good:
        warnings = [f"{warning}; {OURS_SERVES}" for warning in warnings]
    return Given(tuple(good), tuple(warnings))


def signature(paths: Sequence[str], opened: Open = open_plainly) -> tuple[Signature, ...]:
    """Differs when one of the files was changed or replaced, links followed (certbot changes a link).

    Blocking. OSError where one cannot be looked at now (files.passes).
    """
    return tuple(look(path, opened) for path in paths)


_Found = list[tuple[str, str, Chain]]  # the parameter, the file, what is in it


def _from_pair(files: GivenFiles, read: Read, warnings: list[str]) -> _Found:
    parameter = "smtpd_tls_cert_file"
    certificates = certificates_in(_text(parameter, files.certificate, read, warnings) or b"")
    if warnings:
        return []
    if not certificates:
        warnings.append(f"{parameter}: {files.certificate}: no certificate in it")
        return []
    key_file = files.key or files.certificate
    key = keys_in(_text("smtpd_tls_key_file", key_file, read, warnings) or b"")
    if not key and not warnings:
        warnings.append(f"smtpd_tls_key_file: {key_file}: no private key in it")
    return [(parameter, files.certificate, Chain(key, certificates))] if key else []


def _from_chain_files(paths: Sequence[str], read: Read, warnings: list[str]) -> _Found:
    """Postfix takes the files as one text: a key may be in one and its certificates in the next."""
    parameter = "smtpd_tls_chain_files"
    texts = [_text(parameter, path, read, warnings) for path in paths]
    if any(text is None for text in texts):
        return []  # the key of one file must not be taken for that of the certificates two files further on
    found = chains_in(b"\n".join(text for text in texts if text is not None))
    if not found:
        warnings.append(f"{parameter}: {' '.join(paths)}: no private key in it")
    where = paths[0] if len(paths) == 1 else " ".join(paths)
    return [(parameter, where, chain) for chain in found]


def _text(parameter: str, path: str, read: Read, warnings: list[str]) -> bytes | None:
    try:
        return read(path)
    except OSError as error:
        warnings.append(f"{parameter}: {path}: {error.strerror or error}")
        return None


def _why_not(parameter: str, path: str, chain: Chain, plan: Plan, now: datetime.datetime) -> str:
    try:
        if not fits(chain):
            raise DoesNotFit(f"{parameter}: the private key does not fit the certificate in {path}")
    except NotACertificate as reason:
        return str(reason)
    certificate = chain.certificate
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > end:
        return f"it ended on {end:%Y-%m-%d}"
    if now < begin:
        return f"it begins only on {begin:%Y-%m-%d}"
    names, addresses = names_of(certificate)
    # localhost is everybody's name, and says nothing of whose certificate it is.
    wanted = [name for name in (*plan.names, *plan.destinations) if name != LOCALHOST]
    ours = any(covers(pattern, name) for pattern in names for name in wanted)
    if not ours and not any(address in plan.addresses and not address.is_loopback for address in addresses):
        called = listed((*names, *addresses)) or "nobody"
        return f"it is for {called}, and clients look for {plan.host}"
    if trouble := trouble_with(chain):
        return f"OpenSSL does not take it ({trouble})"
    return ""
