"""Delivery reports in English."""

from __future__ import annotations

import time
from collections.abc import Mapping

from lanmail.queue.words import WORTH_SAYING, Facts, Kind, duration, names

_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


class English:
    asked = "sent to:"
    reason = "reason:"
    _subjects: Mapping[Kind, str] = {
        "failed": "Undelivered Mail Returned to Sender",
        "delayed": "Delayed Mail (still being retried)",
        "delivered": "Successful Mail Delivery Report",
        "expanded": "Successful Mail Delivery Report",
        "relayed": "Successful Mail Delivery Report",
    }
    _advice: Mapping[str, str] = {
        "address": "Check the address, then send the message again.",
        "full": "The mailbox is full: ask its owner to make room, then send the message again.",
        "large": "It is too large: send less at a time.",
        "circle": "Mail to this address runs in a circle: please tell {postmaster}.",
        "late": "Send it again later, or ask {postmaster} for help.",
        "other": "Ask {postmaster} for help, and send this report along.",
        "": "What to do about each of them is said below.",
    }

    def subject(self, facts: Facts) -> str:
        prefix = {"sender": "", "postmaster": "Postmaster: ", "copy": "Postmaster Copy: "}[facts.hearer]
        return prefix + (
            "Undelivered Mail, Sender Cannot Be Told" if facts.hearer == "postmaster" else self._subjects[facts.kind]
        )

    def opening(self, facts: Facts) -> str:
        to = names(facts.people, "by way of", "and", "{} recipients")
        if facts.hearer != "sender":
            return self._for_postmaster(facts, to)
        match facts.kind:
            case "failed":
                tried = (
                    f", although it was tried for {self._duration(facts.tried)}," if facts.tried >= WORTH_SAYING else ""
                )
                return (
                    f"Your message to {to} has not been delivered{tried} and will not be tried again. "
                    + self.advice(facts.trouble, facts)
                )
            case "delayed":
                until = f" until {self._moment(facts.until)}" if facts.until else ""
                return (
                    f"Your message to {to} has not been delivered yet; there is nothing you need to do. "
                    f"It will be tried again{until}, and if that does not help you will be told."
                )
            case "delivered":
                return (
                    f"Your message has been delivered to {to}: this is the confirmation that you asked for. "
                    "There is nothing you need to do. Whether anybody has read it is not known here."
                )
            case "expanded":
                return (
                    f"Your message to {to} has been passed on to the mailboxes behind that address: "
                    "this is the confirmation that you asked for. There is nothing you need to do."
                )
            case "relayed":
                return (
                    f"Your message to {to} has been passed on to the next mail server, which sends no such confirmations. "
                    "There is nothing you need to do; this is perhaps the last that you hear of it."
                )

    def _for_postmaster(self, facts: Facts, to: str) -> str:
        sender = f"from {facts.sender}" if facts.sender else "without a sender (such as a report)"
        yet = " yet" if facts.kind == "delayed" else ""
        what = f"A message {sender} to {to} has not been delivered{yet}"
        if facts.hearer == "copy":
            return f"{what}. This is for your information: its sender is told, and there is nothing you need to do."
        return f"{what}, and its sender cannot be told. Please see to it: nobody else hears of this."

    def which(self, facts: Facts) -> str:
        about = f'"{facts.subject}"' if facts.subject else "without a subject"
        return f"This is about the message {about} of {self._moment(facts.sent)}."

    def closing(self, facts: Facts) -> str:
        what = "the message" if facts.full else "the header of the message"
        return f"Below follow the same facts in a form for programs, and {what}."

    def signature(self, facts: Facts) -> str:
        return f"The mail system at {facts.host}"

    def advice(self, trouble: str, facts: Facts) -> str:
        return self._advice[trouble].format(postmaster=facts.postmaster)

    def more(self, count: int) -> str:
        return f"and {count} more"

    def troubles(self, host: str) -> tuple[str, str]:
        opening = (
            f"The SMTP server of {host} refused the following, or could not do it (classes that notify_classes names). "
            "The log has all of it; at most one such letter is written in an hour."
        )
        return f"SMTP server: refusals and errors on {host}", opening

    def mailboxes(self, host: str) -> tuple[str, str]:
        opening = (
            "Mail for the following mailboxes cannot be delivered: it waits in the queue, and goes back to its senders in the end. "
            "Behind each name stands what is wrong. Once that is put right, the mail is delivered by itself, "
            'or at once with "lanmail queue flush".'
        )
        return f"Mailboxes that cannot be used on {host}", opening

    def typeset(self, text: str) -> str:
        return text

    def _moment(self, when: float) -> str:
        local = time.localtime(when)
        return f"{local.tm_mday} {_MONTHS[local.tm_mon - 1]} {local.tm_year} at {local.tm_hour:02}:{local.tm_min:02}"

    def _duration(self, seconds: float) -> str:
        count, unit = duration(seconds)
        return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
