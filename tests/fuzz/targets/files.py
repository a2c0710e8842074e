"""Files that people write: main.cf, aliases, .forward, the device table, the passwd-file, certificates. A file is read, or what is wrong
with it is said in sentences; never anything else, and never without an end."""

from __future__ import annotations

import base64
import os
import tempfile

from cryptography.hazmat.primitives.serialization import Encoding

from lanmail.accounts import passwd_lines
from lanmail.accounts.names import is_login_name
from lanmail.config import devices, settings
from lanmail.config.problems import Problem, Unusable
from lanmail.config.syntax import table_entries
from lanmail.delivery import alias_syntax
from lanmail.delivery.aliases import Aliases
from lanmail.network import parse_ip
from lanmail.smtp.grammar import Malformed, recipient
from lanmail.tls import given
from lanmail.tls.certificate import Chain
from lanmail.tls.given import DoesNotFit, GivenFiles
from tests.config.fake import FakeMachine
from tests.fuzz.target import Target, is_a_sentence
from tests.tls.made import NOW, chain, foreign, plan

_ROOT = os.path.join(os.path.dirname(__file__), *[os.pardir] * 3)
_NO_MORE_THAN = 1000  # complaints about 4 KiB


def _said(problems: tuple[Problem, ...]) -> None:
    assert len(problems) <= _NO_MORE_THAN, len(problems)
    for problem in problems:
        for said in (str(problem), problem.marked):
            assert said.isprintable() and len(said) < 20_000, said


def main_cf(data: bytes) -> None:
    reading = settings.read_text(data, machine=FakeMachine())
    _said(reading.problems)
    try:
        accepted = reading.accepted()
    except Unusable as unusable:
        assert reading.errors and str(unusable)
    else:
        assert not reading.errors
        assert accepted is reading.settings
    for number, key, _ in table_entries(data):
        assert number > 0 and key


def device_table(data: bytes) -> None:
    found, problems = devices.parse(data, "devices")
    _said(problems)
    assert len({device.network for device in found}) == len(found)
    for device in found:
        assert device.network.prefixlen >= 8
        # What is written again is read as the same.
        again, wrong = devices.parse(str(device).encode(), "devices")
        assert again == (device,) and not wrong, (device, wrong)
        assert parse_ip(str(device.network.network_address)) is not None


class _Told(list[str]):
    def __call__(self, line: str, /, **fields: object) -> None:
        self.append(line.format(**fields))


_FOLDER = tempfile.TemporaryDirectory(prefix="lanmail-fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)


def alias_file(data: bytes) -> None:
    path = os.path.join(_FOLDER.name, "aliases")
    with open(path, "wb") as file:
        file.write(data)
    told = _Told()
    aliases = Aliases([path], told, lambda: 0.0)
    aliases.refresh()
    assert len(told) <= _NO_MORE_THAN
    for name in (b"root", b"postmaster", b"list", b"owner-list", *data.split()[:20]):
        alias = aliases.find(name.decode("utf-8", "replace").rstrip(":"))
        if alias is not None:
            for member in alias.members:
                _writable(member.address)


def _writable(address: object) -> None:
    """It goes into header lines and logs: of one line, and an address again where it is read."""
    octets = str(address).encode("utf-8", "strict")
    assert len(octets) < 2000
    try:
        recipient(b"TO:<%b>" % octets, smtputf8=True)
    except Malformed:
        assert not any(octet < 32 or octet == 127 for octet in octets), octets


def forward(data: bytes) -> None:
    found = alias_syntax.forward(".forward", data.decode("utf-8", "replace"))
    assert len(found.members) <= alias_syntax.MAX_FORWARDS
    for member in found.members:
        _writable(member.address)
    assert len(found.problems) <= alias_syntax.MAX_FORWARDS + 1


def passwords(data: bytes) -> None:
    found = passwd_lines.parse(data, "passwd")
    for key, name in zip(found.lines, found.names(), strict=True):
        assert is_login_name(name) and key.decode() == name.lower()
        assert found.spelled(name) == name and found.hash_of(name) is not None
    for problem in found.problems:
        assert problem.startswith("passwd:") and "\n" not in problem
        secret = problem.partition(": ")[2]
        assert "$" not in secret or "set it with" in secret


def certificates(data: bytes) -> None:
    """In one file, and as the certificate or the key beside a good one. What is no text is one certificate in binary form."""
    good = chain()
    if not data.startswith(b"-----"):
        data = pem(data) + good.key
    read = {"given": data, "good": good.text, "key": good.key, "certificate": good.certificates}
    for files in (
        GivenFiles("given"),
        GivenFiles("given", "key"),
        GivenFiles("certificate", "given"),
        GivenFiles(chain_files=("given",)),
        GivenFiles(chain_files=("key", "given")),
    ):
        try:
            judged = given.judge(files, read.__getitem__, plan(), NOW)
        except DoesNotFit as unfit:
            is_a_sentence(str(unfit))
            continue
        for warning in judged.warnings:
            is_a_sentence(warning)
            assert "PRIVATE" not in warning
        assert judged.chains or judged.warnings
        for one in judged.chains:
            assert one.certificate is not None


def pem(der: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"


def _der(one: Chain) -> bytes:
    return one.certificate.public_bytes(Encoding.DER)


def _example(name: str) -> bytes:
    with open(os.path.join(_ROOT, name), "rb") as file:
        return file.read()[:4000]


_ALIASES = b"""\
postmaster: root
root: julien, "nel h" <nel@lan.example>, \\ann
list: :include:/etc/aliases, julien (the boss), nel@lan.example
  , bob
owner-list: nel
program: "|/bin/true"
file: /dev/null
"""
TARGETS = (
    Target(
        "main.cf",
        main_cf,
        (
            b"myhostname = srv.lan.example\nmydomain = lan.example\nmydestination = $mydomain, $myhostname,\n localhost\n"
            b"mynetworks = 127.0.0.0/8 192.168.1.0/24 [fd00::]/8\nalias_maps = hash:/etc/aliases\nmessage_size_limit = 10240000\n",
            b"smtpd_banner = $myhostname ESMTP ${mail_name?yes}\nmynetworks = !10.0.0.1, 10.0.0.0/8\nqueue_directory=/var/x\n"
            b"smtpd_timeout = 5m\nx$y = ${a?{b}:{c}}\nsmtpd_tls_security_level = may\npop3_port = 110\nuser_ids = 1000-60000\n",
            _example("etc/main.cf"),
            b"smtp_endpoint = haproxy:tcp:25:interface=127.0.0.1\naccounts = passwd-file:/etc/lanmail/passwd\ninet_interfaces = all\n",
        ),
        (
            b"$mydomain",
            b"${",
            b"?{",
            b":{",
            b"}",
            b" = ",
            b"\n ",
            b"hash:",
            b"mynetworks",
            b"mydestination",
            b"/24",
            b"[::1]",
            b"$myhostname",
        ),
    ),
    Target(
        "devices",
        device_table,
        (
            b"192.168.1.20 from=scan@lan.example\n10.0.0.0/24 from=a@b.example to=nel@lan.example,c@d.example rate=60/h # x\n",
            b"fd00::1/64 from=x@y.example to=anywhere rate=none\n::ffff:192.168.1.7 from=p@q.example to=local rate=1/s\n",
        ),
        (
            b" from=",
            b" to=",
            b" rate=",
            b"@x.example",
            b"anywhere",
            b"local",
            b"none",
            b"/h",
            b"/8",
            b"/32",
            b"::ffff:",
            b"0.0.0.0",
            b"#",
        ),
    ),
    Target(
        "aliases",
        alias_file,
        (_ALIASES, b"a: b\nb: a\n"),
        (b": ", b", ", b":include:", b"|", b"\n ", b'"', b"(", b")", b"owner-"),
    ),
    Target(
        "forward",
        forward,
        (b"julien, nel@lan.example\n\\ann\n# x\n|program\n/dev/null\n:include:/x\n", b'"a b"@x, <c@d> (e)\n' * 5),
        (b", ", b"\\", b"|", b"/dev/null", b":include:", b"(", b")", b"<", b">", b'"', b"@"),
    ),
    Target(
        "passwd-file",
        passwords,
        (b"nel:$scrypt$ln=15,r=8,p=1$c2FsdHNhbHRzYWx0c2E$" + b"A" * 43 + b":x\n# c\njulien:x\n",),
        (b":", b"$", b"="),
    ),
    Target(
        "certificates",
        certificates,
        (
            chain().text,
            foreign("*.lan.example", addresses=("192.168.1.10",)).text,
            _der(chain()),
            _der(foreign("srv.lan.example")),
        ),
        (
            b"-----BEGIN CERTIFICATE-----\n",
            b"-----END CERTIFICATE-----\n",
            b"-----BEGIN PRIVATE KEY-----\n",
            b"-----BEGIN ",
            b"-----END ",
            b"A" * 64,
        ),
    ),
)
