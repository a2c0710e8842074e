"""Our checkers, as any program with Twisted's ``--auth`` finds them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.strcred import AuthOptionMixin, ICheckerFactory, findCheckerFactories, makeChecker
from twisted.internet import reactor
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from lanmail.accounts.cred_plugins import pam_checker
from lanmail.accounts.hashes import hash_password
from tests.accounts.fakes import pam_service, system_user

ROOT = Path(__file__).resolve().parent.parent.parent


class _Options(usage.Options, AuthOptionMixin):
    supportedInterfaces = (IUsernamePassword,)


class PluginTests(SynchronousTestCase):
    def test_twisted_finds_both(self) -> None:
        ours = [each for each in findCheckerFactories() if each.authType in ("pam", "mailpasswd")]
        self.assertEqual(sorted(each.authType for each in ours), ["mailpasswd", "pam"])
        for factory in ours:
            verifyObject(ICheckerFactory, factory)
            self.assertTrue(factory.authHelp.strip())

    def test_finding_them_imports_nothing_of_ours(self) -> None:
        program = (
            "import sys; from twisted.cred.strcred import findCheckerFactories\n"
            "assert 'pam' in [each.authType for each in findCheckerFactories()]\n"
            "print([name for name in sys.modules if name.split('.')[0] in ('lanmail', 'pam')])"
        )
        said = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
        self.assertEqual(said.stdout.strip(), "[]")

    def test_a_service_or_a_file_that_is_missing_is_a_sentence(self) -> None:
        for description, sentence in (
            ("pam:lanmail-nowhere", "/etc/pam.d/lanmail-nowhere is missing"),
            ("mailpasswd:/nowhere/passwd", "cannot read /nowhere/passwd: No such file or directory"),
            ("mailpasswd", "wants the path of a file"),
        ):
            error = self.assertRaises(usage.UsageError, _Options().parseOptions, ["--auth", description])
            self.assertIn(sentence, str(error))


class _Shutdown:
    """The real reactor, except that what is wanted at its end can be had before."""

    def __init__(self) -> None:
        self.triggers: list[Callable[[], object]] = []

    def addSystemEventTrigger(self, phase: str, event: str, callable: Callable[[], object]) -> None:
        self.triggers.append(callable)

    def __getattr__(self, name: str) -> object:
        return getattr(reactor, name)


class PamCheckerTests(TestCase):
    async def test_pam_checks_for_any_program(self) -> None:
        ann = system_user(self, "ann", "dianaël")
        service = pam_service(self, "auth required pam_unix.so\naccount required pam_unix.so\n")
        shutdown = _Shutdown()
        checker = pam_checker(service, shutdown)
        self.addCleanup(shutdown.triggers[0])
        name = await checker.requestAvatarId(UsernamePassword(ann.upper().encode(), "dianaël".encode()))
        self.assertEqual(name, ann.encode())
        for who in (ann.encode(), b"root"):
            await self.assertFailure(checker.requestAvatarId(UsernamePassword(who, b"wrong")), UnauthorizedLogin)


class PasswdFileCheckerTests(TestCase):
    async def test_a_file_of_ours_checks_for_any_program(self) -> None:
        path = self.mktemp()
        with open(path, "w") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(f"julien:{hash_password('dianaël')}\n")
        checker = makeChecker(f"mailpasswd:{path}")
        verifyObject(ICredentialsChecker, checker)
        self.assertEqual(await checker.requestAvatarId(UsernamePassword(b"Julien", "dianaël".encode())), b"julien")
        refused = checker.requestAvatarId(UsernamePassword(b"julien", b"wrong"))
        await self.assertFailure(refused, UnauthorizedLogin)
