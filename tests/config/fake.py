"""A machine that is only said to be: two interfaces, a few accounts, the files that a test gives it."""

from __future__ import annotations

import ipaddress
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field

from lanmail.config.machine import Facts, Interface

LAN = ("127.0.0.1/8", "192.168.1.1/24", "::1/128", "fd00::1/64")


@dataclass
class FakeMachine:
    """config.machine.Machine."""

    name: str = "srvlinux.iscb-corporation.com"
    networks: Sequence[str] = LAN
    files: dict[str, str] = field(default_factory=lambda: {"/etc/aliases": "root: julien\n", "/etc/pam.d/lanmail": ""})
    accounts: dict[str, int] = field(default_factory=lambda: {"lanmail": 901, "postfix": 102, "root": 0})
    folders: Sequence[str] = ("/var/mail", "/var/spool/mail", "/var/spool/postfix")
    names: dict[str, Sequence[str]] = field(default_factory=dict)
    rights: dict[str, Facts] = field(default_factory=dict)

    def host_name(self) -> str:
        return self.name

    def interfaces(self) -> Sequence[Interface]:
        return [ipaddress.ip_interface(network) for network in self.networks]

    def hosts(self, name: str) -> Sequence[str]:
        return self.names.get(name, ())

    def user(self, name: str) -> int | None:
        return self.accounts.get(name)

    def group(self, name: str) -> int | None:
        return None

    def read(self, path: str) -> bytes:
        try:
            return self.files[path].encode()
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory", path) from None

    def is_folder(self, path: str) -> bool:
        return path in self.folders

    def exists(self, path: str) -> bool:
        return path in self.files or path in self.folders

    def facts(self, path: str) -> Facts | None:
        if path in self.rights or not self.exists(path):
            return self.rights.get(path)
        return Facts(stat.S_IFDIR | 0o755 if path in self.folders else stat.S_IFREG | 0o600, 0)
