"""What a client logs in with."""

from __future__ import annotations

from twisted.cred.credentials import IUsernamePassword
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from lanmail.accounts.credentials import LoginCredentials
from lanmail.interfaces import Login
from lanmail.network import Peer


class LoginCredentialsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.credentials = LoginCredentials(b"julien", "dianaël".encode(), Login("pop3", Peer("192.168.1.5")))

    def test_they_are_what_cred_calls_a_user_name_and_a_password(self) -> None:
        verifyObject(IUsernamePassword, self.credentials)
        self.assertTrue(self.credentials.checkPassword("dianaël".encode()))
        self.assertFalse(self.credentials.checkPassword(b"dianael"))

    def test_the_password_is_in_no_text_of_them(self) -> None:
        for text in (repr(self.credentials), str(self.credentials), f"{self.credentials}"):
            self.assertNotIn("diana", text)
            self.assertIn("julien", text)
            self.assertIn("192.168.1.5", text)
