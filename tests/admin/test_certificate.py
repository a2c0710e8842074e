"""``lanmail certificate``."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

from click.testing import CliRunner, Result
from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from lanmail.admin.certificate import certificate_command
from lanmail.tls.certificate import fingerprint
from lanmail.tls.keeping import Keeping
from tests.live import ROOT, let_through, mail_owner
from tests.tls.made import foreign


class CertificateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).resolve()
        self.folder.mkdir()
        let_through(self.folder)
        self.main_cf = self.folder / "main.cf"
        self.keeping = Keeping(str(self.folder / "data"))
        self.configure()

    def configure(self, extra: str = "", domain: str = "lan.example") -> None:
        self.main_cf.write_text(
            f"myhostname = srv.{domain}\ninet_interfaces = 127.0.0.1\nmail_owner = {mail_owner()}\nalias_maps =\n"
            f"mail_spool_directory = {self.folder}\nqueue_directory = {self.folder}/queue\n"
            f"data_directory = {self.folder}/data\n{extra}\n"
        )

    def run_it(self, command: str, *arguments: str, typed: str | None = None) -> Result:
        return CliRunner().invoke(
            certificate_command, [command, "--config", str(self.main_cf), *arguments], input=typed
        )

    def authority(self) -> x509.Certificate:
        held = self.keeping.held()
        assert held is not None
        return held.authority

    def test_before_the_first_start_there_is_nothing_to_show_and_it_says_what_to_do(self) -> None:
        for command in ("show", "export-ca"):
            result = self.run_it(command)
            self.assertEqual(result.exit_code, 1)
            self.assertIn("now with: lanmail certificate renew", result.output)
        self.assertFalse((self.folder / "data").exists())

    def test_it_can_be_made_before_the_first_start(self) -> None:
        result = self.run_it("renew")
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertIn("lanmail authority of lan.example was made (SHA-256 ", result.output)
        self.assertIn("a new certificate for srv.lan.example was made", result.output)
        self.assertIn("systemctl reload lanmail", result.output)

    def test_names_dates_and_fingerprints_are_shown(self) -> None:
        self.run_it("renew")
        held = self.keeping.held()
        assert held is not None and held.chain is not None
        result = self.run_it("show")
        self.assertEqual(result.exit_code, 0, result.output)
        mine = held.chain.certificate
        for text in (
            "Our own certificate serves",
            "called     srv.lan.example",
            "srv.lan.example, lan.example, mail.lan.example",
            "addresses  127.0.0.1",
            f"{mine.not_valid_before_utc:%Y-%m-%d %H:%M} to {mine.not_valid_after_utc:%Y-%m-%d %H:%M} UTC",
            fingerprint(mine),
            fingerprint(held.authority),
            "signs for  lan.example, localhost, 10.0.0.0/8",
        ):
            self.assertIn(text, result.output)
        self.assertNotIn("due", result.output)

    def test_nothing_secret_is_ever_shown(self) -> None:
        said = [self.run_it(*command).output for command in (("renew",), ("show",), ("export-ca", "-"))]
        self.assertNotIn("PRIVATE", "".join(said))

    def test_what_is_due_and_what_is_left_out_is_said(self) -> None:
        self.run_it("renew")
        self.configure(domain="other.example")
        result = self.run_it("show")
        self.assertIn("It is due to be made anew: ", result.output)
        self.assertIn("may not sign for it: srv.other.example, other.example, mail.other.example", result.output)

    def test_a_certificate_of_main_cf_is_shown_in_its_place(self) -> None:
        mine = foreign("mail.lan.example")
        path = self.folder / "given.pem"
        path.write_bytes(mine.text)
        self.configure(f"smtpd_tls_chain_files = {path}")
        result = self.run_it("show")
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertIn("The certificate that main.cf names serves", result.output)
        self.assertIn(fingerprint(mine.certificate), result.output)

    def test_why_one_of_main_cf_does_not_serve_is_said(self) -> None:
        self.configure(f"smtpd_tls_cert_file = {self.folder}/missing.pem")
        self.run_it("renew")
        result = self.run_it("show")
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertIn("missing.pem: No such file or directory; our own certificate serves in its place", result.output)
        self.assertIn("Our own certificate serves:", result.output)

    def test_a_key_that_does_not_fit_is_an_error(self) -> None:
        path = self.folder / "given.pem"
        path.write_bytes(foreign("mail.lan.example").key + foreign("mail.lan.example").certificates)
        self.configure(f"smtpd_tls_chain_files = {path}")
        result = self.run_it("show")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("the private key does not fit", result.output)

    def test_renewed_it_has_the_same_authority(self) -> None:
        self.run_it("renew")
        before = self.keeping.held()
        result = self.run_it("renew")
        after = self.keeping.held()
        assert before is not None and after is not None
        self.assertEqual(before.authority, after.authority)
        self.assertNotEqual(before.chain, after.chain)
        self.assertIn("it was asked for", result.output)

    def test_a_new_authority_is_asked_about_first(self) -> None:
        self.run_it("renew")
        before = self.authority()
        result = self.run_it("renew", "--authority", typed="n\n")
        self.assertEqual(result.exit_code, 1)
        self.assertIn("Clients that have the authority", result.output)
        self.assertEqual(self.authority(), before)
        self.assertEqual(self.run_it("renew", "--authority", "--yes").exit_code, 0)
        self.assertNotEqual(self.authority(), before)

    def test_the_authority_is_exported_in_both_forms_for_everybody_to_read(self) -> None:
        self.run_it("renew")
        before = os.umask(0o077)
        try:
            result = self.run_it("export-ca", str(self.folder))
        finally:
            os.umask(before)
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertIn(fingerprint(self.authority()), result.output)
        pem, der = self.folder / "lanmail-ca.crt", self.folder / "lanmail-ca.cer"
        self.assertEqual(x509.load_pem_x509_certificate(pem.read_bytes()), self.authority())
        self.assertEqual(x509.load_der_x509_certificate(der.read_bytes()), self.authority())
        for path in (pem, der):
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o644)
        out = self.run_it("export-ca", "-")
        self.assertEqual(out.stdout_bytes, pem.read_bytes())

    def test_trouble_is_a_sentence(self) -> None:
        self.run_it("renew")
        self.assertIn("No such file or directory", self.run_it("export-ca", str(self.folder / "no" / "where")).output)
        (self.folder / "data" / "lanmail" / "authority.pem").write_bytes(b"nonsense")
        for command in ("show", "renew", "export-ca"):
            result = self.run_it(command)
            self.assertEqual(result.exit_code, 1)
            self.assertIn("Error: ", result.output)
            self.assertIn("holds no authority", result.output)
        self.main_cf.write_text("smtpd_tls_protocols = TLSv1\n")
        self.assertIn("leaves neither", self.run_it("show").output)


# As they come to the command line: everything of Python's was loaded as root, the rest happens as that user.
AS_USER = """
import os, sys
from lanmail.admin.command import main
from lanmail.config.postfix import known_parameters
known_parameters()
uid = int(sys.argv.pop(1))
if uid:
    os.setgroups([]); os.setgid(uid); os.setuid(uid)
main()
"""


class AsRootTests(SynchronousTestCase):
    if os.geteuid() != 0:
        skip = "needs root"

    def setUp(self) -> None:
        # Not a folder of trial's, which are closed to others.
        self.folder = Path(tempfile.mkdtemp(prefix="lanmail-tests-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.folder.chmod(0o755)
        (self.folder / "main.cf").write_text(
            f"myhostname = srv.lan.example\nmail_owner = {mail_owner()}\nmail_spool_directory = {self.folder}\n"
            f"queue_directory = {self.folder}\ndata_directory = {self.folder}/data\nalias_maps =\n"
        )
        self.data = self.folder / "data" / "lanmail"

    def run_it(self, command: str, uid: int = 0) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-c", AS_USER, str(uid), "certificate", command, "-c", str(self.folder / "main.cf")]
        return subprocess.run(
            line, cwd=self.folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
        )

    def test_only_root_may_look_into_roots(self) -> None:
        self.assertEqual(self.run_it("renew").returncode, 0)
        for command in ("show", "renew", "export-ca"):
            done = self.run_it(command, uid=1234)
            self.assertEqual(done.returncode, 1, done)
            self.assertRegex(done.stderr, r"\AError: [^\n]*only root[^\n]*\n\Z")

    def test_root_makes_nothing_of_roots_in_somebody_elses_folder(self) -> None:
        self.run_it("renew")
        for path in (self.data, *self.data.iterdir()):
            os.chown(path, 1234, 1234)
        self.assertEqual(self.run_it("show").returncode, 0)
        done = self.run_it("renew")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual({path.stat().st_uid for path in self.data.iterdir()}, {1234})
