"""Makes ``--auth pam:SERVICE`` and ``--auth mailpasswd:PATH`` known to every Twisted program that has ``--auth``.

It imports nothing of lanmail: every run of twist and trial loads it.
"""

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.strcred import ICheckerFactory
from twisted.plugin import IPlugin
from zope.interface import implementer


@implementer(ICheckerFactory, IPlugin)
class PamCheckerFactory:
    """The system's users and PAM."""

    authType = "pam"
    authHelp = """
The system's users (uid 1000 and up, whatever their shell), with passwords
and expiry of accounts checked by PAM in processes of their own. Failures are
answered late. The service is a file in /etc/pam.d; lanmail by default.
"""
    argStringFormat = "A PAM service."
    credentialInterfaces = (IUsernamePassword,)

    def generateChecker(self, argstring: str) -> ICredentialsChecker:
        from twisted.internet import reactor  # nobody hands one to a plugin

        from lanmail.accounts.cred_plugins import pam_checker

        return pam_checker(argstring, reactor)


@implementer(ICheckerFactory, IPlugin)
class PasswdFileCheckerFactory:
    """The accounts of a file that ``lanmail passwd`` writes."""

    authType = "mailpasswd"
    authHelp = """
A file with a name and a salted scrypt hash on each line, as "lanmail passwd"
writes it. It must be a regular file that only its owner can read, and belong
to root or to the user that the server runs as. Failures are answered late.
"""
    argStringFormat = "The path of a file made by: lanmail passwd --file PATH NAME"
    credentialInterfaces = (IUsernamePassword,)

    def generateChecker(self, argstring: str) -> ICredentialsChecker:
        from twisted.internet import reactor

        from lanmail.accounts.cred_plugins import passwd_file_checker

        return passwd_file_checker(argstring, reactor)


pam = PamCheckerFactory()
mailpasswd = PasswdFileCheckerFactory()
