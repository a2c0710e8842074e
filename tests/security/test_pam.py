"""PAM modules that hang and that crash, written in C and loaded by the real PAM, behind a whole server: everybody else goes on."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.accounts.fakes import pam_service, system_user
from tests.caller import Caller, pop3, smtp, transaction
from tests.live import Server, need

# Returns PAM_IGNORE (25) for whoever is not meant, so that pam_unix decides.
MODULE = """\
#include <string.h>
#include <unistd.h>
extern int pam_get_user(void *pam, const char **user, const char *prompt);
int pam_sm_authenticate(void *pam, int flags, int argc, const char **argv) {
    const char *user = "";
    pam_get_user(pam, &user, 0);
    if (strstr(user, "-hang")) for (;;) sleep(3600);
    if (strstr(user, "-crash")) *(volatile int *)0 = 0;
    if (strstr(user, "-exit")) _exit(0);
    if (strstr(user, "-noise")) { (void)!write(4, "\\0\\0\\0\\1+\\0\\0\\0\\1+", 10); sleep(1); }
    return 25;
}
int pam_sm_setcred(void *pam, int flags, int argc, const char **argv) { return 25; }
"""


class PamTests(SynchronousTestCase):
    def setUp(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can make users and PAM services")
        need("gcc")
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        (folder / "module.c").write_text(MODULE)
        module = folder / "module.so"
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", module, folder / "module.c", "-l:libpam.so.0"], check=True)
        lines = f"auth optional {module}\nauth required pam_unix.so\naccount required pam_unix.so\n"
        service = pam_service(self, lines)
        self.names = {
            role: system_user(self, role, "secret") for role in ("hang", "crash", "exit", "noise", "ann", "bob")
        }
        self.server = Server(
            str(folder / "server"), f"pam_service = {service}\npam_timeout = 3s\npam_processes = 2\n", accounts="system"
        )
        self.addCleanup(self.server.stop)
        self.server.start()

    def log_in(self, role: str, source: str = "127.0.0.1") -> Caller:
        client = pop3(self.server.pop3, self.names[role], "secret", source)
        self.addCleanup(client.close)
        return client

    def ask(self, role: str, source: str) -> Caller:
        """Whoever will not be answered soon."""
        client = Caller(self.server.pop3, source)
        self.addCleanup(client.close)
        client.say(f"USER {self.names[role]}")
        client.send(b"PASS secret\r\n")
        return client

    def test_a_module_that_hangs_holds_up_its_own_login_alone(self) -> None:
        hanging = [self.ask("hang", f"127.0.1.{number}") for number in range(1, 5)]
        began = time.monotonic()
        for role in ("ann", "bob"):
            self.assertRegex(self.log_in(role).answer, r"^\+OK ")
        with smtp(self.server.smtp, *transaction(self.names["ann"])) as client:
            self.assertRegex(client.say("Subject: x\r\n\r\nx\r\n."), "^250 ")
        self.assertLess(time.monotonic() - began, 15)
        for client in hanging:
            self.assertRegex(client.reply(), r"^-ERR \[SYS/TEMP\] ")
        self.assertIn("no answer within 3 s", self.server.describe())

    def test_a_module_that_crashes_or_ends_its_process_is_trouble_for_its_own_login_alone(self) -> None:
        for role in ("crash", "exit", "crash", "exit"):
            waiting = self.ask(role, "127.0.1.1")
            ann = self.log_in("ann")
            self.assertRegex(ann.answer, r"^\+OK ")
            self.assertRegex(ann.say("QUIT"), r"^\+OK ")
            self.assertRegex(waiting.reply(), r"^-ERR \[SYS/TEMP\] ")
        self.assertRegex(self.log_in("bob").answer, r"^\+OK ")
        self.assertRegex(self.server.describe(), "login helper was lost")
        self.assertNotIn("Traceback", self.server.describe())

    def test_a_module_that_writes_into_the_channel_lets_nobody_in(self) -> None:
        client = pop3(self.server.pop3, self.names["noise"], "wrong", "127.0.1.2")
        self.addCleanup(client.close)
        self.assertRegex(client.answer, "^-ERR ")
        self.assertRegex(self.log_in("ann").answer, r"^\+OK ")
