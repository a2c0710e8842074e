"""What a client may do on one connection, in clear or once it speaks TLS. Values; who gets which is service.py's to say."""

from __future__ import annotations

from dataclasses import dataclass

from lanmail.status import Status


@dataclass(frozen=True, slots=True)
class Terms:
    """starttls: TLS is offered. login: names and passwords are taken.

    For SMTP alone: first: said to whatever is not allowed before TLS. mail: said to MAIL as long as nobody is logged in.
    None: nothing stands in the way.
    """

    starttls: bool = False
    login: bool = False
    first: Status | None = None
    mail: Status | None = None


TLS_FIRST = Status(530, "5.7.0", "Must issue a STARTTLS command first")
LOGIN_FIRST = Status(530, "5.7.0", "Authentication required")
