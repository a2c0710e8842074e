"""Delivery reports in French."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from lanmail.queue.words import WORTH_SAYING, Facts, Kind, duration, names

_MONTHS = (
    *("janvier", "février", "mars", "avril", "mai", "juin"),
    *("juillet", "août", "septembre", "octobre", "novembre", "décembre"),
)
# Where French puts a space at which no line may end.
_SPACES = re.compile(r"(?<=«) | (?=[»;:!?](?: |$))|(?<=\d) (?=h \d\d)|(?<=\d h) (?=\d\d)")


class French:
    asked = "envoyé à :"
    reason = "motif (en anglais) :"
    _subjects: Mapping[Kind, str] = {
        "failed": "Message non remis, retourné à l'expéditeur",
        "delayed": "Message retardé (nouvelles tentatives en cours)",
        "delivered": "Confirmation de remise de votre message",
        "expanded": "Confirmation de remise de votre message",
        "relayed": "Confirmation de transmission de votre message",
    }
    _advice: Mapping[str, str] = {
        "address": "Vérifiez l'adresse, puis renvoyez le message.",
        "full": "La boîte aux lettres est pleine : demandez à la personne concernée d'y faire de la place, puis renvoyez le message.",
        "large": "Il est trop volumineux : envoyez-le en plusieurs fois.",
        "circle": "Le courrier pour cette adresse tourne en rond : merci de le signaler à {postmaster}.",
        "late": "Renvoyez-le plus tard, ou demandez de l'aide à {postmaster}.",
        "other": "Demandez de l'aide à {postmaster} en joignant cet avis.",
        "": "Ce qu'il convient de faire est indiqué ci-dessous pour chaque adresse.",
    }

    def subject(self, facts: Facts) -> str:
        match facts.hearer:
            case "sender":
                return self._subjects[facts.kind]
            case "copy":
                return f"Copie pour postmaster : {_lower(self._subjects[facts.kind])}"
            case "postmaster":
                return "Pour postmaster : message non remis, expéditeur injoignable"

    def opening(self, facts: Facts) -> str:
        to = names(facts.people, "par l'intermédiaire de", "et", "{} destinataires")
        if facts.hearer != "sender":
            return self._for_postmaster(facts, to)
        match facts.kind:
            case "failed":
                tried = (
                    f" malgré des tentatives répétées pendant {self._duration(facts.tried)}"
                    if facts.tried >= WORTH_SAYING
                    else ""
                )
                return (
                    f"Votre message adressé à {to} n'a pas été remis{tried}, et aucune nouvelle tentative n'aura lieu. "
                    + self.advice(facts.trouble, facts)
                )
            case "delayed":
                until = f" jusqu'au {self._moment(facts.until)}" if facts.until else ""
                return (
                    f"Votre message adressé à {to} n'a pas encore été remis ; vous n'avez rien à faire. "
                    f"De nouvelles tentatives auront lieu{until} ; si aucune n'aboutit, vous recevrez un nouvel avis."
                )
            case "delivered":
                return (
                    f"Votre message a été remis à {to} : voici la confirmation que vous avez demandée. Vous n'avez rien à faire. "
                    "Nous ignorons s'il a été lu."
                )
            case "expanded":
                return (
                    f"Votre message adressé à {to} a été transmis aux boîtes aux lettres que cette adresse regroupe : "
                    "voici la confirmation que vous avez demandée. Vous n'avez rien à faire."
                )
            case "relayed":
                return (
                    f"Votre message adressé à {to} a été transmis au serveur suivant, qui n'envoie pas de telles confirmations. "
                    "Vous n'avez rien à faire ; ceci est peut-être la dernière nouvelle que vous en aurez."
                )

    def _for_postmaster(self, facts: Facts, to: str) -> str:
        sender = f"de {facts.sender}" if facts.sender else "sans expéditeur (un avis de non-remise, par exemple)"
        not_delivered = "n'a pas encore été remis" if facts.kind == "delayed" else "n'a pas été remis"
        what = f"Un message {sender} adressé à {to} {not_delivered}"
        if facts.hearer == "copy":
            return f"{what}. Ceci est pour votre information : l'expéditeur est averti, et vous n'avez rien à faire."
        return f"{what}, et l'expéditeur ne peut pas être averti. Merci de vous en occuper : personne d'autre n'en est informé."

    def which(self, facts: Facts) -> str:
        about = f"« {facts.subject} »" if facts.subject else "sans objet"
        return f"Il s'agit du message {about} du {self._moment(facts.sent)}."

    def closing(self, facts: Facts) -> str:
        what = "le message" if facts.full else "l'en-tête du message"
        return f"Suivent les mêmes informations sous une forme destinée aux programmes, ainsi que {what}."

    def signature(self, facts: Facts) -> str:
        return f"Le service de messagerie de {facts.host}"

    def advice(self, trouble: str, facts: Facts) -> str:
        return self._advice[trouble].format(postmaster=facts.postmaster)

    def more(self, count: int) -> str:
        return f"et {count} de plus"

    def troubles(self, host: str) -> tuple[str, str]:
        opening = (
            f"Le serveur SMTP de {host} a refusé ce qui suit, ou n'a pas pu le faire (classes désignées par notify_classes). "
            "Le journal contient tout ; un tel courrier n'est envoyé qu'une fois par heure au plus."
        )
        return f"Serveur SMTP : refus et erreurs sur {host}", opening

    def mailboxes(self, host: str) -> tuple[str, str]:
        opening = (
            "Le courrier destiné aux boîtes aux lettres suivantes ne peut pas être remis : il attend dans la file, et retournera à ses "
            "expéditeurs si rien n'est fait. Le motif (en anglais) suit chaque nom. Une fois le problème corrigé, le courrier sera remis "
            "de lui-même, ou tout de suite avec « lanmail queue flush »."
        )
        return f"Boîtes aux lettres inutilisables sur {host}", opening

    def typeset(self, text: str) -> str:
        """With the spaces at which no line may end."""
        return _SPACES.sub("\u00a0", text)

    def _moment(self, when: float) -> str:
        local = time.localtime(when)
        day = "1er" if local.tm_mday == 1 else str(local.tm_mday)
        return f"{day} {_MONTHS[local.tm_mon - 1]} {local.tm_year} à {local.tm_hour} h {local.tm_min:02}"

    def _duration(self, seconds: float) -> str:
        count, unit = duration(seconds)
        word = {"day": "jour", "hour": "heure", "minute": "minute"}[unit]
        return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
