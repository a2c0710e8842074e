"""Our certificate for whoever serves it, from whoever may look into data_directory: said once what is wanted, then asked again and again.

The service has given root up and never sees the authority's key. It cannot ask for a name: what the certificate is for is in the order,
which was given while the service was still root, and the addresses are looked up here.
"""

from __future__ import annotations

import datetime
import json
from dataclasses import asdict, dataclass, fields

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from lanmail.config.machine import THIS_MACHINE, Machine
from lanmail.tls.certificate import Chain, certificate_in, chains_in
from lanmail.tls.keeping import Keeping, Kept
from lanmail.tls.plan import Plan, plan_for

# Of an answer; what was left out besides is told in the news.
MOST_LEFT_OUT = 100


class BadAnswer(ValueError):
    """What came is no answer of ``sign``."""


@dataclass(frozen=True, slots=True)
class Order:
    """For whom the certificate is. listening: the texts of inet_interfaces' addresses. old_devices: one with an RSA key too."""

    data_directory: str
    host: str
    domain: str
    destinations: tuple[str, ...]
    listening: tuple[str, ...]
    old_devices: bool = False

    @property
    def text(self) -> str:
        """For the guard's duties: ``argument``."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str) -> Order:
        """What ``text`` gave. ValueError."""
        said = json.loads(text)
        if not isinstance(said, dict) or set(said) != {field.name for field in fields(cls)}:
            raise ValueError("an order of another version")
        return cls(**said | {name: tuple(said[name]) for name in ("destinations", "listening")})

    def plan(self, machine: Machine = THIS_MACHINE) -> Plan:
        """With the addresses as they are now: interfaces come and go while we run."""
        try:
            if_inet6 = machine.read("/proc/net/if_inet6").decode("ascii", "replace")
        except OSError:  # a kernel without IPv6
            if_inet6 = ""
        interfaces = [one.ip for one in machine.interfaces()]
        return plan_for(self.host, self.domain, self.destinations, self.listening, interfaces, if_inet6)

    def keep(self, now: datetime.datetime, machine: Machine = THIS_MACHINE) -> Kept:
        """What to serve, made anew where it is due. Blocking, some milliseconds. Raises KeepingTrouble."""
        return Keeping(self.data_directory).keep(self.plan(machine), now, old_devices=self.old_devices)


def sign(request: bytes, argument: str) -> bytes:
    """The guard's signer, which runs as root: ``argument`` is the text of an Order, and there is nothing to be requested beyond it.

    The answer is for ``answered``. Raises KeepingTrouble, ValueError.
    """
    if request:
        raise ValueError("there is nothing to choose")
    kept = Order.of(argument).keep(datetime.datetime.now(datetime.UTC))
    said = {
        "chain": kept.chain.text.decode("ascii"),
        "old_devices": kept.old_devices.text.decode("ascii") if kept.old_devices else None,
        "authority": kept.authority.public_bytes(Encoding.PEM).decode("ascii"),
        "left_out": kept.left_out[:MOST_LEFT_OUT],
        "news": kept.news,
    }
    return json.dumps(said).encode("ascii")


def answered(answer: bytes) -> Kept:
    """What ``sign`` answered. Raises BadAnswer."""
    try:
        said = json.loads(answer)
        authority: x509.Certificate = certificate_in(said["authority"].encode("ascii"))
        old = said["old_devices"]
        left_out, news = tuple(map(str, said["left_out"])), tuple(map(str, said["news"]))
        return Kept(_chain(said["chain"]), _chain(old) if old else None, authority, left_out, news)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise BadAnswer("the signer of our certificate answered with noise") from None


def _chain(text: str) -> Chain:
    (chain,) = chains_in(text.encode("ascii"))
    return chain
