from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lanmail.config.local import ForwardPath
from lanmail.config.parameters import Settings
from lanmail.config.settings import read_text
from tests.config.fake import FakeMachine


class LocalTestCase(SynchronousTestCase):
    def settings(self, text: str) -> Settings:
        return read_text(text, machine=FakeMachine()).accepted()

    def error(self, text: str) -> str:
        (problem,) = read_text(text, machine=FakeMachine()).errors
        return str(problem)


class LuserRelayTests(LocalTestCase):
    def test_what_stands_for_the_recipient_is_left_as_it_is(self) -> None:
        for text in ("admin", "$user@other.example", "admin+${local}", "$(user)@${domain?{$domain}:{lan}}", ""):
            settings = self.settings(f"local_recipient_maps =\nluser_relay = {text}")
            self.assertEqual(settings.luser_relay, text)
            self.assertEqual(settings.written["luser_relay"].expanded, text)

    def test_a_name_without_a_meaning_is_an_error_that_says_which_have_one(self) -> None:
        self.assertIn(
            "luser_relay: $myorigin has no meaning here; $domain, $extension,", self.error("luser_relay = $myorigin")
        )

    def test_what_makes_no_address_is_an_error(self) -> None:
        for text in ("|/bin/cat", "/var/mail/all", "ann, bob", "ann bob", "@lan", "ann@", "${user", "<ann@lan>"):
            self.assertIn("main.cf:1: luser_relay: ", self.error(f"luser_relay = {text}"))


class ForwardPathTests(LocalTestCase):
    def path(self, text: str) -> ForwardPath:
        return self.settings(f"forward_path = {text}").forward_path

    def test_a_file_with_the_tag_and_one_without_are_what_there_is(self) -> None:
        self.assertEqual(self.settings("").forward_path, ForwardPath(True, True))
        self.assertEqual(self.path("$home/.forward"), ForwardPath(False, True))
        self.assertEqual(self.path("${home}/.forward$(recipient_delimiter)$extension"), ForwardPath(True, False))
        self.assertEqual(self.path(""), ForwardPath(False, False))

    def test_no_file_is_read_elsewhere(self) -> None:
        for text in ("/var/forward/$user", "$home/mail/forward", "/home/$user/.forward"):
            self.assertIn("are read in $home only", self.error(f"forward_path = {text}"))
        turned = "$home/.forward, $home/.forward${recipient_delimiter}${extension}"
        self.assertIn("comes before", self.error(f"forward_path = {turned}"))
