"""What became of one command or one recipient: a reply code, an enhanced code (RFC 3463) and a plain sentence."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Status:
    """A reply code of three digits, an enhanced code such as ``5.1.1``, and one line of text for a person.

    The text is what a client is shown. It holds no line end, no name of a class and no path of ours.
    """

    code: int
    enhanced: str
    text: str

    def __str__(self) -> str:
        return f"{self.code} {self.enhanced} {self.text}"


class DeliveryFailure(Exception):
    """Expected trouble, with the status that tells it. Raise one of the two below."""

    def __init__(self, status: Status) -> None:
        super().__init__(str(status))
        self.status = status


class TemporaryFailure(DeliveryFailure):
    """Trying again may help. The code begins with 4."""


class PermanentFailure(DeliveryFailure):
    """Trying again cannot help. The code begins with 5."""
