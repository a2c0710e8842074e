"""What an SMTP conversation asks of somebody else. Each is answered with ``accept`` or ``refuse``."""

from __future__ import annotations

from dataclasses import dataclass, field

from lanmail.address import Address
from lanmail.interfaces import MailParameters, RecipientParameters


@dataclass(frozen=True, slots=True)
class Mail:
    sender: Address
    parameters: MailParameters


@dataclass(frozen=True, slots=True)
class Recipient:
    address: Address
    parameters: RecipientParameters = field(default_factory=RecipientParameters)


@dataclass(frozen=True, slots=True)
class Data:
    """A message is about to come. Content follows, and EndOfMessage, or Reset where it becomes too large."""


@dataclass(frozen=True, slots=True)
class Content:
    """A piece of the message: LF line ends, no stuffed dots, cut anywhere, never empty. Answered with no reply."""

    chunk: bytes


@dataclass(frozen=True, slots=True)
class EndOfMessage:
    """The message is whole. The transaction is over, however this is answered."""


@dataclass(frozen=True, slots=True)
class Reset:
    """The transaction is over and what came of its message is to be forgotten. Cannot be refused."""


@dataclass(frozen=True, slots=True)
class Auth:
    """Somebody claims to be ``username``. Octets as they came: what a name may be is for accounts to say."""

    mechanism: str
    username: bytes
    password: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class StartTls:
    """TLS is to begin once the reply is sent, and then ``secured``. Until then nothing is understood; what was said before is forgotten."""


@dataclass(frozen=True, slots=True)
class Hold:
    """So many errors were made that the next reply is held back: wait for ``error_sleep_time``, then accept."""


Event = Mail | Recipient | Data | Content | EndOfMessage | Reset | Auth | StartTls | Hold
