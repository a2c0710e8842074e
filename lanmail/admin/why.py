"""``lanmail why``: what became of a message, or of somebody's mail, as sentences."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

import click

from lanmail.admin import sentences
from lanmail.admin.moments import since as since_then
from lanmail.admin.nearest import Known, alias_names
from lanmail.admin.owner import NotAllowed, become_owner
from lanmail.config.parameters import Settings
from lanmail.config.settings import place_of, read
from lanmail.log_lines import printable
from lanmail.spool.all_stories import AllStories
from lanmail.spool.shares import histories
from lanmail.spool.stories import NoHistory, Refusal, Story
from lanmail.state import HISTORY

SHOWN = 20
"""So many messages are told of where nobody asks for all."""


@click.command("why", short_help="Tell what became of a message.")
@click.argument("what", metavar="ID|ADDRESS|MESSAGE-ID")
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line: for each message, and each refusal.")
@click.option("--since", callback=since_then, metavar="WHEN", help="No further back than 2h, 3d, 10:30, 2026-11-24.")
@click.option("--all", "everything", is_flag=True, help=f"All messages; without it the {SHOWN} newest.")
@click.option("--config", "-c", "file", metavar="FILE", help="The main.cf; else ./main.cf, then /etc/lanmail/main.cf.")
def why_command(what: str, as_json: bool, since: float | None, everything: bool, file: str | None) -> None:
    """Tell what became of a message: who sent it, what each recipient became, and who fetched and deleted it.

    Messages are named by a queue id (222CF6745D), a Message-ID, or an address or account that they were from or for; then the newest
    come first. What was refused is told too, and why. Only root and mail_owner may ask. The status is 1 where nothing is known.

    The service may run or not. What happened in the last quarter of a second may not have been written yet.
    """
    settings = _settings(file)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that cannot show a letter shows its number
    folder = os.path.join(settings.queue_directory, "lanmail")
    try:
        become_owner(folder)
        stories = _stories(folder, settings)
        telling = Telling(stories, settings, since or 0.0, None if everything else SHOWN)
        for line in telling.objects(what) if as_json else telling.lines(what):
            click.echo(line)
    except (NotAllowed, NoHistory) as reason:
        raise click.ClickException(str(reason)) from reason
    if not telling.found:
        raise SystemExit(1)


def _settings(file: str | None) -> Settings:
    path = place_of(file)
    if path is None:
        raise click.ClickException("there is no ./main.cf and no /etc/lanmail/main.cf; name one with --config")
    reading = read(path)
    if reading.unread:
        raise click.ClickException("\n".join(str(error) for error in reading.errors))
    return reading.settings


def _stories(folder: str, settings: Settings) -> AllStories:
    paths = histories(folder)
    if not paths:
        if settings.history_days == 0:
            raise NoHistory("no history is kept: history_days is 0")
        raise NoHistory(f"no history is kept yet: there is no {os.path.join(folder, HISTORY)}")
    return AllStories(paths)


class Telling:
    """One answer. found: whether anything was known."""

    def __init__(self, stories: AllStories, settings: Settings, since: float, most: int | None) -> None:
        self._stories = stories
        self._settings = settings
        self._since = since
        self._most = most
        self._now = time.time()
        self._known: Known | None = None
        self.found = False

    def lines(self, what: str) -> Iterator[str]:
        """Sentences, fit for a terminal whatever stands in them."""
        stories, refusals, more = self._search(what)
        blocks = [list(sentences.paragraph(story, too, self._now)) for story, too in stories]
        if refusals:
            blocks.append([self._refused(refusal) for refusal in refusals])
        for number, block in enumerate(blocks):
            if number:
                yield ""
            yield from map(printable, block)
        if more:
            yield ""
            yield "Older ones are not shown; --all shows every one, --since WHEN those of a time."
        if not self.found:
            yield printable(self._nothing(what))

    def objects(self, what: str) -> Iterator[str]:
        """The same as JSON, in ASCII: ``{"queue_id": …, "events": [{"kind": …, "time": …, …}]}`` and ``{"refused": {…}}``, a line each."""
        stories, refusals, _ = self._search(what)
        for story, too in stories:
            events = [{"kind": event.kind, "time": _iso(event.at), **event.facts} for event in story.events]
            told: dict[str, Any] = {"queue_id": story.queue_id, "events": events}
            if too:
                told["refused_too"] = [self._as_object(refusal) for refusal in too]
            yield json.dumps(told)
        for refusal in refusals:
            yield json.dumps({"refused": self._as_object(refusal)})

    def _search(self, what: str) -> tuple[list[tuple[Story, Sequence[Refusal]]], list[Refusal], bool]:
        """Stories, each with what was refused beside it; other refusals; whether there are more than are shown."""
        stories: list[tuple[Story, Sequence[Refusal]]] = []
        refusals: list[Refusal] = []
        queue_id = what.upper()
        story = self._stories.of(queue_id)
        refused_with = self._stories.refused_with(queue_id)
        if story is not None:
            stories.append((story, refused_with))
        else:
            refusals += refused_with
        more = False
        if not (stories or refusals):
            names = self._names(what)
            found = self._stories.named(names, self._since)
            stories += [(one, ()) for one in islice(found, self._most)]
            more = self._most is not None and next(found, None) is not None
            refusals = self._stories.refused(names, self._since)
            more = more or (self._most is not None and len(refusals) > self._most)
        self.found = bool(stories or refusals)
        return stories, refusals[: self._most], more

    def _names(self, what: str) -> list[str]:
        """What is meant by it: a word alone may be an account, or an address of one of our domains."""
        settings = self._settings
        domains = () if "@" in what else (settings.myorigin, *settings.mydestination.names)
        return [what, *(f"{what}@{domain}" for domain in dict.fromkeys(domains))]

    def _refused(self, refusal: Refusal) -> str:
        return sentences.refused(refusal, self._people.why(refusal), self._now)

    def _nothing(self, what: str) -> str:
        began = max(self._stories.began, self._since)
        near = self._people.near(what)
        meant = f"; nearest is {near}" if near and near.casefold() != what.casefold() else ""
        return f"Nothing is known of {what} since {sentences.moment(began, self._now)}{meant}."

    def _as_object(self, refusal: Refusal) -> dict[str, Any]:
        return {
            "recipient": refusal.recipient,
            "sender": refusal.sender,
            "client": refusal.client,
            "helo": refusal.helo,
            "status": refusal.status,
            "why": self._people.why(refusal),
            "queue_id": refusal.queue_id,
            "first": _iso(refusal.first),
            "last": _iso(refusal.last),
            "count": refusal.count,
        }

    @property
    def _people(self) -> Known:
        if self._known is None:
            settings = self._settings
            people = [*self._stories.people(), *alias_names(settings.alias_maps)]
            self._known = Known(settings.mydestination.names, people, settings.recipient_delimiter)
        return self._known


def _iso(at: float) -> str:
    """Local time with its zone: ``2026-11-24T10:31:02+01:00``."""
    return datetime.fromtimestamp(at).astimezone().isoformat(timespec="seconds")
