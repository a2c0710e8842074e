"""The house keeps its shape: imports point downward, Twisted begins where it should, protocols do not know each other."""

from __future__ import annotations

import ast
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent

# From the bottom to the top. A module may import from its own package, and from what stands on a lower floor.
FLOORS: tuple[tuple[str, ...], ...] = (
    (
        "lanmail",
        "lanmail.address",
        "lanmail.files",
        "lanmail.status",
        "lanmail.memory",
        "lanmail.network",
        "lanmail.message",
    ),
    ("lanmail.wire", "lanmail.config", "lanmail.interfaces"),
    (
        "lanmail.smtp.grammar",
        "lanmail.smtp.dsn",
        "lanmail.smtp.session",
        "lanmail.smtp.events",
        "lanmail.smtp.limits",
        "lanmail.smtp.replies",
        "lanmail.smtp.story",
        "lanmail.smtp.tally",
        "lanmail.smtp.text",
    ),
    (
        "lanmail.pop3.session",
        "lanmail.pop3.events",
        "lanmail.pop3.marks",
        "lanmail.mailbox",
        # Programs of their own, in which next to nothing is loaded, and what they have from us.
        "lanmail.accounts.helper",
        "lanmail.accounts.names",
    ),
    (
        "lanmail.rights.channel",
        "lanmail.rights.duties",
        "lanmail.rights.handover",
        "lanmail.rights.opener",
        "lanmail.rights.parent",
        "lanmail.rights.privileges",
        "lanmail.rights.signer",
        "lanmail.rights.starting",
        "lanmail.rights.trusted",
        "lanmail.accounts.login_memory",
        "lanmail.loopback",
        "lanmail.anvil",
        "lanmail.notify",
        "lanmail.spool",
        "lanmail.delivery.aliases",
        "lanmail.delivery.alias_syntax",
        "lanmail.delivery.found",
        "lanmail.delivery.luser_relay",
        "lanmail.delivery.originators",
        "lanmail.delivery.sender_logins",
        "lanmail.queue.schedule",
        "lanmail.tls.plan",
        "lanmail.tls.certificate",
        "lanmail.tls.openssl",
        "lanmail.tls.authority",
        "lanmail.tls.given",
        "lanmail.tls.keeping",
        "lanmail.tls.signing",
        "lanmail.tls.configured",
    ),
    (
        "lanmail.delivery.routes",
        "lanmail.delivery.members",
        "lanmail.delivery.copies",
        "lanmail.delivery.batch",
        "lanmail.delivery.senders",
        "lanmail.delivery.submitted",
        "lanmail.shared",
    ),
    # Twisted begins here.
    (
        "lanmail.log_lines",
        "lanmail.driving",
        "lanmail.sending",
        "lanmail.twisted_mail",
        "lanmail.state",
        "lanmail.ports",
    ),
    ("lanmail.maillog", "lanmail.proxied", "lanmail.sharing", "lanmail.bell", "lanmail.threads"),
    (
        "lanmail.accounts",
        "lanmail.rim",
        "lanmail.tls",
        "lanmail.admission",
        "lanmail.connections",
        "lanmail.delivery.local",
        "lanmail.delivery.stock",
        "lanmail.delivery.forward",
    ),
    ("lanmail.queue", "lanmail.rights"),
    ("lanmail.delivery.reception",),
    (
        "lanmail.smtp.server",
        "lanmail.smtp.stock",
        "lanmail.pop3.server",
        "lanmail.pop3.takeover",
        "lanmail.pop3.stock",
        "lanmail.tryout",
        "lanmail.manners",
    ),
    ("lanmail.wiring",),
    ("lanmail.service",),
    ("lanmail.workers",),
    ("lanmail.admin",),
    ("lanmail.tap",),
)
WITHOUT_TWISTED = 5  # so many floors; interfaces names two of Twisted's interfaces, and no more


def modules() -> dict[str, ast.Module]:
    found = {}
    for path in sorted((ROOT / "lanmail").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def floor(name: str) -> int:
    """The floor of the longest entry that is ``name`` or contains it."""
    found = [(len(entry), level) for level, row in enumerate(FLOORS) for entry in row if _within(name, entry)]
    return max(found)[1]


def _within(name: str, entry: str) -> bool:
    return name == entry or (entry != "lanmail" and name.startswith(entry + "."))


class LayersTests(SynchronousTestCase):
    def test_every_module_stands_on_a_floor(self) -> None:
        packages = {f"lanmail.{name}" for name in ("smtp", "pop3", "delivery")}
        homeless = [n for n in modules() if n not in packages and not any(_within(n, e) for row in FLOORS for e in row)]
        self.assertEqual(homeless, [])

    def test_imports_point_downward(self) -> None:
        known = modules()
        wrong = []
        for name, tree in known.items():
            for imported in imports(tree):
                target = imported if imported in known else imported.rpartition(".")[0]
                if (
                    target not in known
                    or target == name
                    or target in ("lanmail.smtp", "lanmail.pop3", "lanmail.delivery")
                ):
                    continue
                same_room = floor(target) == floor(name) and target.rpartition(".")[0] == name.rpartition(".")[0]
                if floor(target) > floor(name) or (floor(target) == floor(name) and not same_room):
                    wrong.append(f"{name} imports {target}")
        self.assertEqual(wrong, [])

    def test_below_the_accounts_nothing_knows_twisted(self) -> None:
        wrong = [
            f"{name} imports {imported}"
            for name, tree in modules().items()
            if name not in ("lanmail.smtp", "lanmail.pop3", "lanmail.delivery") and floor(name) < WITHOUT_TWISTED
            for imported in imports(tree)
            if imported.startswith("twisted.") and not imported.startswith("twisted.mail.interfaces.")
        ]
        self.assertEqual(wrong, [])

    def test_nobody_but_the_tap_takes_the_global_reactor(self) -> None:
        wrong = [
            name
            for name, tree in modules().items()
            if name != "lanmail.tap" and any(i == "twisted.internet.reactor" for i in imports(tree))
        ]
        self.assertEqual(wrong, [])

    def test_smtp_and_pop3_do_not_know_each_other(self) -> None:
        for mine, other in (("lanmail.smtp", "lanmail.pop3"), ("lanmail.pop3", "lanmail.smtp")):
            wrong = [
                n for n, t in modules().items() if n.startswith(mine) and any(i.startswith(other) for i in imports(t))
            ]
            self.assertEqual(wrong, [])
