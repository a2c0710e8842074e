"""Values in which ``$`` stands for something of each recipient's, as local(8) has them: luser_relay and forward_path."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lanmail.config.expansion import expand, references
from lanmail.config.kinds import TEXT, Context, Kind
from lanmail.config.problems import BadValue
from lanmail.config.syntax import words

LOCAL_NAMES = ("domain", "extension", "home", "local", "recipient", "recipient_delimiter", "shell", "user")


def _luser_relay(text: str, context: Context) -> str:
    if not text:
        return ""
    for name in sorted(references(text) - set(LOCAL_NAMES)):
        raise BadValue(f"${name} has no meaning here; ${', $'.join(LOCAL_NAMES)} have")
    sample = TEXT.read(expand(text, lambda name: "x@x" if name == "recipient" else "x"), context)
    if sample.startswith(("|", "/")):
        raise BadValue("an address is wanted: mail is not delivered to programs and files")
    if not re.fullmatch(r"[^\s,;:<>()\"\\]+", sample) or sample.startswith("@") or sample.endswith("@"):
        raise BadValue(f"{text!r} makes no address; one is wanted, such as admin or admin+$local")
    return text


LUSER_RELAY = Kind(
    "address, in which $user, $local, $extension, $domain and $recipient may stand, or empty", _luser_relay
)

_TAGGED = "$home/.forward$recipient_delimiter$extension"
_PLAIN = "$home/.forward"


@dataclass(frozen=True, slots=True)
class ForwardPath:
    """Which .forward files count. tagged: ``.forward+tag`` for an address with a tag, before any other. plain: ``.forward``."""

    tagged: bool
    plain: bool


def _forward_path(text: str, _: Context) -> ForwardPath:
    found = []
    for word in words(text):
        bare = re.sub(r"\$\{(\w+)\}|\$\((\w+)\)", lambda name: f"${name[1] or name[2]}", word)
        if bare not in (_TAGGED, _PLAIN):
            raise BadValue(
                f"{word}: .forward files are read in $home only, as $home/.forward or with a tag; empty: not at all"
            )
        found.append(bare)
    # The first that is there counts: what stands behind $home/.forward is for those who have none.
    if found.count(_PLAIN) and _TAGGED in found[found.index(_PLAIN) :]:
        raise BadValue("the file with a tag comes before $home/.forward")
    return ForwardPath(_TAGGED in found, _PLAIN in found)


FORWARD_PATH = Kind("list of `$home/.forward${recipient_delimiter}${extension}`, `$home/.forward`", _forward_path)
