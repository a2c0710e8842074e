"""The three doors, as real processes on real ports; and every way in which a start must fail with a sentence."""

from __future__ import annotations

import os
import poplib
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.caller import Caller
from tests.live import ROOT, Server, free_port, wait_for

MESSAGE = "From: nel@iscb-corporation.com\r\nTo: julien@iscb-corporation.com\r\nSubject: Hello\r\n\r\nIt works.\r\n"

TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()")


def run(
    *command: str, cwd: str | Path | None = None, patience: float = 60, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd or ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=patience,
        stdin=subprocess.DEVNULL,
    )


def no_configuration() -> None:
    """SkipTest where this machine has a main.cf of its own, which would be taken instead of the try-out's."""
    if os.path.exists("/etc/lanmail/main.cf"):
        raise SkipTest("/etc/lanmail/main.cf is there")


class DoorTests(SynchronousTestCase):
    def server(self, extra: str = "") -> Server:
        server = Server(self.mktemp(), extra)
        self.addCleanup(server.stop)
        return server

    def a_message_goes_through(self, server: Server) -> None:
        with smtplib.SMTP("127.0.0.1", server.smtp, timeout=20) as client:
            client.sendmail("nel@iscb-corporation.com", ["julien@iscb-corporation.com"], MESSAGE)
        box = poplib.POP3("127.0.0.1", server.pop3, timeout=20)
        box.user("julien")
        box.encoding = "utf-8"  # UTF-8 is poplib's own choice too
        box.pass_("dianaël")
        self.assertEqual(box.stat()[0], 1)
        self.assertIn(b"It works.", box.retr(1)[1])
        box.dele(1)
        box.quit()
        self.assertEqual(server.mailbox("julien"), b"")

    def test_twist(self) -> None:
        self.a_message_goes_through(self.server().start())

    def test_twistd_with_the_tac(self) -> None:
        server = self.server()
        # The .tac looks for ./main.cf, as `twist lanmail` does.
        server.start((*TWISTD, "-n", "--pidfile=", "-y", str(ROOT / "etc/lanmail.tac")), cwd=str(server.folder))
        self.a_message_goes_through(server)

    def test_twistd_in_the_background_leaves_when_told(self) -> None:
        server = self.server()
        pidfile = server.folder / "twistd.pid"
        arguments = [
            "--pidfile",
            str(pidfile),
            "--logfile",
            str(server.folder / "twistd.log"),
            "-y",
            str(ROOT / "etc/lanmail.tac"),
        ]
        ended = run(*TWISTD, *arguments, cwd=server.folder, PYTHONPATH=str(ROOT))
        self.assertEqual(ended.returncode, 0, ended.stderr)
        pid = int(pidfile.read_text())
        self.addCleanup(lambda: os.path.exists(f"/proc/{pid}") and os.kill(pid, signal.SIGKILL))
        self.a_message_goes_through(server)
        os.kill(pid, signal.SIGTERM)
        for _ in range(500):
            if not os.path.exists(f"/proc/{pid}"):
                return
            time.sleep(0.02)
        self.fail("it did not end")

    def test_twist_from_an_empty_environment_and_the_root_folder(self) -> None:
        folder = Path(self.mktemp()).resolve()
        made = run(sys.executable, "-m", "venv", str(folder), patience=240)
        self.assertEqual(made.returncode, 0, made.stderr)
        source = folder / "source"  # a build writes beside setup.cfg; not in the checkout under test
        shutil.copytree(
            ROOT,
            source,
            ignore=shutil.ignore_patterns(
                ".git", ".venv", "build", "*.egg-info", "_trial_temp*", ".mypy_cache", ".hypothesis"
            ),
        )
        installed = run(
            str(folder / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", str(source), patience=240
        )
        self.assertEqual(installed.returncode, 0, installed.stdout + installed.stderr)
        server = self.server()
        server.start((str(folder / "bin/twist"), "lanmail", "--config", str(server.main_cf)), cwd="/")
        self.a_message_goes_through(server)
        config = run(str(folder / "bin/lanmail"), "config", "--config", str(server.main_cf), cwd="/")
        check = run(str(folder / "bin/twist"), "lanmail", "--config", str(server.main_cf), "--check", cwd="/")
        self.assertEqual((config.returncode, check.returncode), (0, 0), config.stderr + check.stderr)
        self.assertEqual(config.stdout, check.stdout)

    def test_sigterm_with_nobody_busy_takes_less_than_a_second(self) -> None:
        server = self.server().start()
        with smtplib.SMTP("127.0.0.1", server.smtp, timeout=20) as idle:
            idle.ehlo("here")
            began = time.monotonic()
            server.stop()
            self.assertLess(time.monotonic() - began, 1.0)
            self.assertEqual(idle.getreply()[0], 421)
            idle.sock = None

    def test_a_second_sigterm_waits_for_nobody(self) -> None:
        server = self.server("shutdown_timeout = 60s").start()
        with Caller(server.smtp) as busy:
            for command in ("HELO here", "MAIL FROM:<>", "RCPT TO:<julien>", "DATA"):
                self.assertRegex(busy.say(command), r"^[23]")
            assert server.process is not None
            server.process.send_signal(signal.SIGTERM)
            wait_for(lambda: not server.listens(), server.describe)
            self.assertIsNone(server.process.poll(), "somebody is busy")
            began = time.monotonic()
            server.stop()
            self.assertLess(time.monotonic() - began, 5)
        self.assertNotIn("Traceback", server.describe())

    def test_no_more_clients_are_let_in_than_there_are_descriptors_to_serve_them(self) -> None:
        server = self.server("smtpd_client_connection_count_limit = 0")
        limited = ("sh", "-c", 'ulimit -n 542; exec "$@"', "sh", *server.command())
        server.start(limited)
        self.assertIn("this process may have 542 descriptors: 10 connections are let in", server.describe())
        callers = [Caller(server.smtp) for _ in range(40)]
        for caller in callers:
            self.addCleanup(caller.close)
        self.assertEqual([caller.greeting[:3] for caller in callers], ["220"] * 10 + ["421"] * 30)
        for command in ("HELO here", "MAIL FROM:<>", "RCPT TO:<julien>", "DATA"):
            self.assertRegex(callers[0].say(command), r"^[23]")
        self.assertRegex(callers[0].say("."), r"^250 ")

    def test_sockets_that_systemd_has_opened_are_served(self) -> None:
        server = self.server(
            "smtp_endpoint = systemd:domain=INET:name=smtp\npop3_endpoint = systemd:domain=INET:name=pop3\n"
        )
        activating = (sys.executable, "-c", ACTIVATING, str(server.smtp), str(server.pop3))
        self.a_message_goes_through(server.start((*activating, *server.command())))

    def test_an_endpoint_takes_the_place_of_a_port(self) -> None:
        server = self.server()
        server.main_cf.write_text(
            server.main_cf.read_text() + f"smtp_endpoint = tcp:{server.smtp}:interface=127.0.0.1\n"
            f"pop3_endpoint = tcp:{server.pop3}:interface=127.0.0.1\n"
        )
        self.a_message_goes_through(server.start())


# As systemd does it: it listens itself, and whoever is started finds the sockets at 3 and above (sd_listen_fds(3)).
ACTIVATING = """\
import os, socket, sys
sockets = [socket.create_server(("127.0.0.1", int(port))) for port in sys.argv[1:3]]
for place, sock in enumerate(sockets, 10):
    os.dup2(sock.fileno(), place)
for place in (0, 1):
    os.dup2(10 + place, 3 + place)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2", LISTEN_FDNAMES="smtp:pop3")
os.execv(sys.argv[3], sys.argv[3:])
"""


class RefusedStartTests(SynchronousTestCase):
    def start(self, server: Server, *more: str) -> subprocess.CompletedProcess[str]:
        return run(*server.command(), *more)

    def test_a_busy_port_names_its_holder_and_what_stops_it(self) -> None:
        first = Server(self.mktemp()).start()
        self.addCleanup(first.stop)
        second = Server(self.mktemp())
        ended = self.start(second, "-o", f"smtp_port={first.smtp}")
        assert first.process is not None
        self.assertNotEqual(ended.returncode, 0)
        self.assertIn(f"port {first.smtp} on 127.0.0.1 is taken by", ended.stderr)
        self.assertIn(f"(pid {first.process.pid}); stop it with: ", ended.stderr)
        self.assertNotIn("Traceback", ended.stderr + ended.stdout)

    def test_an_endpoint_that_cannot_be_had_is_a_sentence(self) -> None:
        """Threads that were started before it was known once kept the program running, and listening to nothing."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            for endpoint, why in (
                (f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1", "Address already in use"),
                ("nonsense:1", "Unknown endpoint type"),
            ):
                ended = self.start(Server(self.mktemp(), f"smtp_endpoint = {endpoint}"))
                self.assertNotEqual(ended.returncode, 0)
                self.assertIn(f"lanmail: cannot listen on {endpoint}: ", ended.stderr)
                self.assertIn(why, ended.stderr)
                self.assertNotIn("Traceback", ended.stderr + ended.stdout)

    def test_a_log_that_cannot_be_written_is_a_sentence(self) -> None:
        ended = self.start(Server(self.mktemp(), "maillog_file = /proc/mail.log"))
        self.assertNotEqual(ended.returncode, 0)
        self.assertIn("lanmail: cannot write /proc/mail.log: No such file or directory", ended.stderr)
        self.assertNotIn("Traceback", ended.stderr + ended.stdout)

    def test_a_second_instance_on_the_same_queue_is_refused(self) -> None:
        first = Server(self.mktemp()).start()
        self.addCleanup(first.stop)
        assert first.process is not None
        ended = self.start(first, "-o", f"smtp_port={free_port()}", "-o", f"pop3_port={free_port()}")
        self.assertNotEqual(ended.returncode, 0)
        self.assertIn(f"another lanmail (pid {first.process.pid}) is running on", ended.stderr)

    def test_a_missing_right_is_a_sentence(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("needs root, to become somebody who may not")
        server = Server(self.mktemp())
        ended = run(
            "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *server.command(), "-o", "smtp_port=25"
        )
        self.assertNotEqual(ended.returncode, 0)
        self.assertNotIn("Traceback", ended.stderr + ended.stdout)
        self.assertIn("lanmail: ", ended.stderr)

    def test_all_errors_of_a_configuration_at_once_with_their_lines(self) -> None:
        server = Server(self.mktemp(), "mydestinations = here\nmessage_size_limit = many\n")
        ended = self.start(server)
        self.assertNotEqual(ended.returncode, 0)
        lines = server.main_cf.read_text().splitlines()
        for text in ("mydestinations = here", "message_size_limit = many"):
            self.assertIn(f"main.cf:{lines.index(text) + 1}: ", ended.stderr)
        self.assertIn('unknown parameter "mydestinations"; did you mean "mydestination"?', ended.stderr)
        self.assertNotIn("Traceback", ended.stderr)

    def test_a_file_that_is_not_there_is_a_sentence(self) -> None:
        ended = run(sys.executable, "-m", "twisted", "lanmail", "--config", "/nonexistent/main.cf")
        self.assertNotEqual(ended.returncode, 0)
        self.assertIn("/nonexistent/main.cf", ended.stderr)
        self.assertNotIn("Traceback", ended.stderr)

    def test_the_try_out_refuses_root_and_says_why(self) -> None:
        no_configuration()
        if os.geteuid() != 0:
            raise SkipTest("needs root, which is what is refused")
        folder = Path(self.mktemp())
        folder.mkdir()
        ended = run(sys.executable, "-m", "twisted", "lanmail", cwd=folder, PYTHONPATH=str(ROOT))
        self.assertNotEqual(ended.returncode, 0)
        self.assertIn("does not run as root", ended.stderr)
        self.assertEqual(list(folder.iterdir()), [])


class AuthOptionTests(SynchronousTestCase):
    def test_twisteds_own_checkers_replace_the_password_check_alone(self) -> None:
        server = Server(self.mktemp())
        self.addCleanup(server.stop)
        passwords = server.folder / "passwords"
        passwords.write_text("julien:other\nnobody:x\n")
        server.start((*server.command(), "--auth", f"file:{passwords}"))
        for user, password, well in (("julien", "other", True), ("julien", "dianael", False), ("nobody", "x", False)):
            box = poplib.POP3("127.0.0.1", server.pop3, timeout=20)
            box.user(user)
            try:
                box.pass_(password)
                self.assertTrue(well, user)
            except poplib.error_proto as error:
                self.assertFalse(well, error)
            box.close()


class TryOutTests(SynchronousTestCase):
    def test_the_lines_of_the_start_page_send_and_fetch_a_message(self) -> None:
        no_configuration()
        if shutil.which("curl") is None:
            raise SkipTest("curl is not installed")
        # Not trial's own folder, which others than we cannot enter.
        folder = Path(tempfile.mkdtemp(prefix="lanmail-try-out-")).resolve()
        self.addCleanup(shutil.rmtree, folder)
        command = [sys.executable, "-m", "twisted", "lanmail"]
        if os.geteuid() == 0:
            # As an ordinary user, for whom it is.
            command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command]
            os.chown(folder, 65534, 65534)
            if run(*command[:5], "-c", "import twisted, lanmail.tap", PYTHONPATH=str(ROOT)).returncode != 0:
                raise SkipTest(f"an ordinary user cannot run {sys.executable}")
        output = folder / "output"
        with output.open("wb") as log:
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
            process = subprocess.Popen(
                command, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment
            )
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        for _ in range(1000):
            page = output.read_text(errors="replace")
            if "Ctrl-C ends" in page:
                break
            self.assertIsNone(process.poll(), page)
            time.sleep(0.02)
        lines = [line.strip() for line in page.splitlines()]
        send = next(line for line in lines if line.startswith("printf"))
        fetch = next(line for line in lines if line.startswith("curl") and "pop3://" in line)
        sent = run("sh", "-c", send)
        self.assertEqual((sent.returncode, sent.stderr), (0, ""))
        fetched = run("sh", "-c", fetch)
        self.assertEqual(fetched.returncode, 0, fetched.stderr)
        self.assertIn("Subject: Hello", fetched.stdout)
        self.assertIn("It works.", fetched.stdout)
        swaks = next((line for line in lines if line.startswith("swaks")), None)
        if shutil.which("swaks") and swaks is None:
            self.fail("swaks is installed, and its line is not on the page")
        if swaks:
            self.assertEqual(run("sh", "-c", swaks).returncode, 0)
        accounts = folder / "lanmail-data/accounts.txt"
        self.assertEqual(accounts.stat().st_mode & 0o777, 0o600)
        self.assertIn(accounts.read_text().split()[-1], page)
