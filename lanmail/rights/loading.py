"""What Python would load only when it is first needed, loaded while it can be: its folder may be root's alone, as one in /root is."""

from __future__ import annotations

import codecs
import importlib
import os
import sysconfig

# What names of hosts, text of the network and errors need. twisted.internet's own are loaded by their first use too.
_CODECS = ("ascii", "utf-8", "latin-1", "idna", "punycode", "unicode_escape", "raw_unicode_escape", "utf-16", "utf-32")
_MODULES = (
    "stringprep",
    "unicodedata",
    "linecache",
    "traceback",
    "_strptime",
    "json",
    "ctypes",
    "twisted.internet.unix",
)


def load_now() -> None:
    """Before the service gives root up."""
    for codec in _CODECS:
        codecs.lookup(codec)
    for module in _MODULES:
        importlib.import_module(module)


def unreadable(uid: int, gid: int) -> str | None:
    """Where Python's library lies, if ``uid`` could load nothing more from there; else None. For a warning at the start.

    Judged by the modes of the folders alone: nobody else's rights are taken for it.
    """
    for place in sorted({sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), os.path.dirname(__file__)}):
        step = "/"
        for name in ("", *os.path.realpath(place).strip("/").split("/")):
            step = os.path.join(step, name)
            try:
                facts = os.stat(step)
            except OSError:
                return place
            shift = 6 if facts.st_uid == uid else 3 if facts.st_gid == gid else 0
            if not facts.st_mode >> shift & 0o1:
                return place
    return None
