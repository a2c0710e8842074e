"""Where things lie, which machine and which versions a result is of, and what is missing here."""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
LOAD = os.path.join(HERE, "mailload")

# The start scripts read these too.
SCRATCH = os.environ.setdefault("BENCH_TMP", "/var/tmp")
PEERS = os.environ.setdefault("PEERS_DIR", os.path.join(SCRATCH, "mailbench-peers"))
_peer_python = os.path.join(PEERS, "venv/bin/python")
os.environ.setdefault("PEER_PYTHON", _peer_python if os.path.exists(_peer_python) else sys.executable)

GROUPS = {
    "postfix-dovecot": ("postfix-dovecot-default-default", "postfix-dovecot-tuned-tuned"),
    "twisted": ("twisted-stock",),
    "aiosmtpd": ("aiosmtpd-mbox",),
    "exim": ("exim",),
    "opensmtpd": ("opensmtpd",),
    "popa3d": ("popa3d",),
    "haraka": ("haraka-mbox",),
}


def lanmail_python() -> str:
    """The interpreter that lanmail runs in: what LANMAIL_PYTHON says, else this one or .venv's, whichever has Twisted."""
    if said := os.environ.get("LANMAIL_PYTHON"):
        return said
    beside = os.path.join(ROOT, ".venv", "bin", "python")
    return sys.executable if importlib.util.find_spec("twisted") or not os.path.exists(beside) else beside


os.environ["LANMAIL_PYTHON"] = lanmail_python()


def workers() -> int:
    """How many workers lanmail has: what LANMAIL_EXTRA says last, else one."""
    said = re.findall(r"^\s*workers\s*=\s*(\d+)", os.environ.get("LANMAIL_EXTRA", ""), re.MULTILINE)
    return max(1, int(said[-1])) if said else 1


def first_line(*command: str) -> str:
    """What a program says of its version; empty where it is not there."""
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
    except OSError:
        return ""
    return (said.stdout + said.stderr).strip().split("\n")[0]


def machine() -> dict[str, object]:
    """The machine, when, and the versions: what a result means nothing without."""
    with open("/proc/cpuinfo") as f:
        model = re.search(r"model name\s*: (.*)", f.read())
    with open("/proc/meminfo") as f:
        kilobytes = int(f.readline().split()[1])
    python = os.environ["LANMAIL_PYTHON"]
    versions = {
        "kernel": os.uname().release,
        "system": _system(),
        "python": first_line(python, "-V"),
        "twisted": first_line(python, "-c", "import twisted; print(twisted.__version__)"),
        "lanmail": first_line("git", "-C", ROOT, "describe", "--always", "--dirty"),
        "postfix": first_line("postconf", "-h", "mail_version"),
        "dovecot": first_line("dovecot", "--version"),
    }
    return {
        "when": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "cpu": model.group(1) if model else "unknown",
        "cores": os.cpu_count(),
        "memory_gib": round(kilobytes / 1024**2, 1),
        "file_system": first_line("stat", "-f", "-c", "%T", "/var/mail"),
        "versions": {k: v for k, v in versions.items() if v},
    }


def _system() -> str:
    try:
        with open("/etc/os-release") as f:
            found = re.search(r'PRETTY_NAME="(.*)"', f.read())
    except OSError:
        return ""
    return found.group(1) if found else ""


def missing(groups: list[str]) -> list[str]:
    """The parts of peers/setup-debian.sh that have to be run first."""
    parts = []
    if not _has_user("u100"):
        parts.append("users")
    if any(shutil.which(tool) is None for tool in ("cc", "make", "strace")):
        parts.append("tools")
    if not _has_user("lanmail") or not os.path.exists("/etc/pam.d/lanmail"):
        parts.append("lanmail")
    for group in groups:
        parts += [part for part in group.split("-") if not _has_peer(part)]
    return parts


def _has_peer(part: str) -> bool:
    match part:
        case "postfix":
            return first_line("postconf", "-M", "2525/inet") != "" and "2525" in first_line(
                "postconf", "-M", "2525/inet"
            )
        case "dovecot":
            return os.path.exists("/etc/dovecot/local.conf") and shutil.which("doveadm") is not None
        case "twisted" | "aiosmtpd":
            said = subprocess.run([os.environ["PEER_PYTHON"], "-c", f"import {part}"], capture_output=True)
            return said.returncode == 0
        case "haraka":
            return os.path.isdir(os.path.join(PEERS, "haraka", "node_modules", "Haraka"))
        case "exim":
            return os.path.isdir(os.path.join(PEERS, "x-exim4-daemon-light"))
        case _:
            return os.path.isdir(os.path.join(PEERS, f"x-{part}"))


def _has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def stop_servers_at_the_end() -> None:
    """SIGTERM and SIGHUP end a run as Ctrl-C does, so that what it started is stopped, and no server is left behind."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
