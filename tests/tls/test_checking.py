"""What ``--check`` and the commands say of the certificates that a main.cf names."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from lanmail.config.problems import Severity
from lanmail.config.settings import Reading, read_text
from lanmail.tls import checking
from lanmail.tls.certificate import Chain
from lanmail.tls.checking import judged, reader_for
from lanmail.tls.openssl import CannotServe
from tests.config.fake import FakeMachine
from tests.live import let_through, mail_owner
from tests.rights.test_trusted import folder_of_root
from tests.tls.made import DAY, NOW, foreign

MAIN_CF = "myhostname = srv.lan.example\nsmtpd_tls_cert_file = /cert\nsmtpd_tls_key_file = /key\n"


class JudgedTests(SynchronousTestCase):
    def reading(self, text: str = MAIN_CF, **files: bytes) -> Reading:
        def read(path: str) -> bytes:
            try:
                return files[path.removeprefix("/")]
            except KeyError:
                raise FileNotFoundError(2, "No such file or directory", path) from None

        return judged(read_text(text, machine=FakeMachine()), read, FakeMachine())

    def told(self, reading: Reading, severity: Severity = Severity.WARNING) -> str:
        """The one thing that there is to say of certificates."""
        (problem,) = [one for one in reading.problems if "smtpd_tls" in one.text]
        self.assertIs(problem.severity, severity)
        return str(problem)

    def test_a_good_one_is_nothing_to_speak_of_and_nor_is_ours(self) -> None:
        mine = foreign("mail.lan.example")
        for reading in (self.reading(cert=mine.certificates, key=mine.key), self.reading("")):
            self.assertEqual([one for one in reading.problems if "tls" in one.text], [])

    def test_one_that_cannot_serve_is_a_warning_with_its_line(self) -> None:
        old = foreign("mail.lan.example", begin=NOW - 9 * DAY, end=NOW - DAY)
        other = foreign("www.example.com")
        good = foreign("mail.lan.example")
        for files, place, why in (
            ({}, "main.cf:2: smtpd_tls_cert_file: /cert: ", "No such file or directory"),
            ({"cert": good.certificates}, "main.cf:3: smtpd_tls_key_file: /key: ", "No such file or directory"),
            ({"cert": b"", "key": good.key}, "main.cf:2: smtpd_tls_cert_file: /cert: ", "no certificate in it"),
            ({"cert": old.certificates, "key": old.key}, "main.cf:2: smtpd_tls_cert_file: /cert: ", "it ended on "),
            (
                {"cert": other.certificates, "key": other.key},
                "main.cf:2: smtpd_tls_cert_file: /cert: ",
                "it is for www",
            ),
        ):
            said = self.told(self.reading(**files))
            self.assertTrue(said.startswith(place + why), said)
            self.assertTrue(said.endswith("; our own certificate serves in its place"), said)

    def test_a_key_that_does_not_fit_is_an_error_with_its_line(self) -> None:
        reading = self.reading(cert=foreign("mail.lan.example").certificates, key=foreign("mail.lan.example").key)
        expected = "main.cf:2: smtpd_tls_cert_file: the private key does not fit the certificate in /cert"
        self.assertEqual(self.told(reading, Severity.ERROR), expected)
        self.assertEqual(len(reading.errors), 1)

    def test_an_openssl_without_tls_1_0_is_an_error_where_it_is_asked_for(self) -> None:
        def check_old(_chain: Chain) -> None:
            raise CannotServe("tls_legacy_clients: OpenSSL 9 has no TLS 1.0 any more")

        text = "myhostname = srv.lan.example\ntls_legacy_clients = 4650\n"
        self.assertEqual(self.reading(text).errors, ())
        self.patch(checking, "check_old", check_old)
        (error,) = self.reading(text).errors
        self.assertEqual(str(error), "main.cf:2: tls_legacy_clients: OpenSSL 9 has no TLS 1.0 any more")
        self.assertEqual(self.reading("").errors, ())

    def test_where_our_own_name_is_wrong_nothing_is_said_of_its_names(self) -> None:
        mine = foreign("mail.lan.example")
        reading = self.reading(MAIN_CF.replace("srv.lan.example", "..."), cert=mine.certificates, key=mine.key)
        self.assertEqual(
            [one.text.partition(":")[0] for one in reading.problems if one in reading.errors], ["myhostname"]
        )
        self.assertNotIn("tls", "".join(one.text for one in reading.problems))


class ReaderTests(SynchronousTestCase):
    """It says beforehand what the service will meet."""

    def setUp(self) -> None:
        self.settings = read_text(f"mail_owner = {mail_owner()}\nmyhostname = srv.lan.example").settings

    def test_a_file_in_folders_of_roots_is_read_whoever_may_enter_them(self) -> None:
        folder = folder_of_root(self)
        folder.chmod(0o700)
        (folder / "key").write_bytes(b"text")
        (folder / "key").chmod(0o600)
        self.assertEqual(reader_for(self.settings)(str(folder / "key")), b"text")

    def test_any_other_is_read_where_mail_owner_may_and_not_because_root_may(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root has rights that mail_owner lacks")
        file = Path(self.mktemp()).resolve()
        file.write_bytes(b"text")
        let_through(file.parent)
        os.chown(
            file.parent, pwd.getpwnam(mail_owner()).pw_uid, -1
        )  # wherever the tests run, this folder is not root's alone
        file.chmod(0o644)
        self.assertEqual(reader_for(self.settings)(str(file)), b"text")
        file.chmod(0o600)
        error = self.assertRaises(PermissionError, reader_for(self.settings), str(file))
        self.assertRegex(error.strerror, "^Permission denied, and root does not open it for us: .* is not root's alone")
        self.assertEqual(os.geteuid(), 0)

    def test_without_root_it_is_said_that_root_might(self) -> None:
        def refuse(*_: object, **__: object) -> int:
            raise PermissionError(13, "Permission denied")

        self.patch(os, "geteuid", lambda: 1000)
        self.patch(os, "open", refuse)
        error = self.assertRaises(PermissionError, reader_for(self.settings), "/key")
        self.assertEqual(error.strerror, "Permission denied, unless the service is started as root")
