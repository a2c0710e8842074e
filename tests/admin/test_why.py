"""``lanmail why``, as it is called."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.admin import why
from lanmail.admin.owner import NotAllowed
from lanmail.admin.why import SHOWN, why_command
from lanmail.interfaces import Tell
from lanmail.spool.history import History

ROOT = Path(__file__).resolve().parent.parent.parent
ID = "222CF6745D"
JULIEN, NEL = "julien@iscb-corporation.com", "nel@iscb-corporation.com"
UNKNOWN = "550 5.1.1 <{}>: Recipient address rejected: User unknown in local recipient table"
MAIN_CF = """
mydomain = iscb-corporation.com
mydestination = $mydomain
myorigin = $mydomain
alias_maps =
alias_database =
queue_directory = {queue}
"""


def tell_all(tell: Tell) -> None:
    tell("refused", ID, client="192.168.1.5", sender=JULIEN, recipient="nell@iscb-corporation.com", status=UNKNOWN)
    tell("received", ID, sender=JULIEN, client="unknown[192.168.1.5]", size=1234, protocol="ESMTP", message_id="<1@pc>")
    tell("recipient", ID, original=NEL, delivered_to=NEL, user="nel")
    tell("delivered", ID, user="nel", recipient=NEL, delay=0.1)
    tell("fetched", ID, user="nel", client="192.168.1.3", uidl="x", octets=1400)
    tell(
        "refused",
        "",
        client="192.168.1.5",
        sender=JULIEN,
        recipient="julien@isbc-corporation.com",
        status="554 5.7.1 no",
    )


class WhyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        self.state = os.path.join(self.folder, "queue", "lanmail")
        os.makedirs(self.state, mode=0o700)
        self.path = os.path.join(self.state, "history-0")
        self.main_cf = os.path.join(self.folder, "main.cf")
        with open(self.main_cf, "w") as file:
            file.write(MAIN_CF.format(queue=os.path.join(self.folder, "queue")))
        # Becoming somebody else is for good; test_owner.py does it in a process of its own.
        self.patch(why, "become_owner", lambda folder: None)

    def history(self) -> History:
        history = History(self.path, 30, lambda line, /, **fields: None)
        history.start()
        self.addCleanup(history.close)
        return history

    def tell(self) -> None:
        history = self.history()
        tell_all(history.tell)
        history.close()

    def ask(self, *arguments: str) -> Result:
        return CliRunner().invoke(why_command, ["--config", self.main_cf, *arguments])

    def test_a_message_is_told_by_its_id_its_message_id_its_people_and_their_accounts(self) -> None:
        self.tell()
        told = self.ask(ID)
        self.assertEqual(told.exit_code, 0, told.output)
        self.assertIn(f"{ID}  from {JULIEN}, 1.2 KB, <1@pc>\n", told.output)
        self.assertIn("fetched by nel from 192.168.1.3 with POP3\n", told.output)
        self.assertIn("nell@iscb-corporation.com was refused", told.output)
        for what in (ID.lower(), "<1@pc>", "1@pc", NEL, NEL.upper(), "nel", JULIEN, "julien"):
            self.assertIn(f"{ID}  from {JULIEN}", self.ask(what).output, what)

    def test_it_tells_while_the_service_runs(self) -> None:
        history = self.history()
        tell_all(history.tell)
        history.flush()
        self.assertIn("fetched by nel", self.ask("nel").output)

    def test_what_never_came_in_is_told_with_what_was_probably_meant(self) -> None:
        self.tell()
        self.assertIn(
            "julien@isbc-corporation.com was refused: unknown domain; nearest iscb-corporation.com",
            self.ask("julien@isbc-corporation.com").output,
        )
        self.assertIn("was refused: unknown user; nearest nel@iscb-corporation.com", self.ask("nell").output)

    def test_of_nobody_it_says_since_when_it_would_know(self) -> None:
        self.tell()
        told = self.ask("nelly@iscb-corporation.com")
        self.assertEqual(told.exit_code, 1)
        self.assertIn("Nothing is known of nelly@iscb-corporation.com since ", told.output)
        self.assertIn("; nearest is nel@iscb-corporation.com.\n", told.output)
        self.assertEqual(self.ask("nelly@iscb-corporation.com", "--json").output, "")

    def test_the_newest_come_first_and_no_more_than_somebody_reads(self) -> None:
        history = self.history()
        for number in range(SHOWN + 5):
            history.tell("recipient", f"{number:010X}", original=NEL, user="nel", delivered_to=NEL)
        history.close()
        told = self.ask("nel").output
        self.assertEqual(told.count("how it came in is not kept"), SHOWN)
        self.assertTrue(told.startswith(f"{SHOWN + 4:010X}"))
        self.assertIn("--all shows every one", told)
        everything = self.ask("nel", "--all").output
        self.assertEqual(everything.count("how it came in is not kept"), SHOWN + 5)
        self.assertNotIn("--all", everything)

    def test_since_goes_no_further_back(self) -> None:
        self.tell()
        self.assertEqual(self.ask("nel", "--since", "2h").exit_code, 0)
        later = time.strftime("%Y-%m-%d", time.localtime(time.time() + 2 * 86400))
        self.assertEqual(self.ask("nel", "--since", later).exit_code, 1)
        self.assertIn("is none of: 2h, 3d", self.ask("nel", "--since", "soon").output)

    def test_json_is_an_object_a_line(self) -> None:
        self.tell()
        told, refused = (json.loads(line) for line in self.ask(JULIEN, "--json").output.splitlines()[:2])
        self.assertEqual(told["queue_id"], ID)
        self.assertEqual([event["kind"] for event in told["events"]], ["received", "recipient", "delivered", "fetched"])
        self.assertEqual(told["events"][0]["size"], 1234)
        self.assertTrue(told["events"][0]["time"][:4].isdigit())
        self.assertEqual(refused["refused"]["why"], "unknown domain; nearest iscb-corporation.com")
        (alone,) = map(json.loads, self.ask(ID, "--json").output.splitlines())
        self.assertEqual(alone["refused_too"][0]["recipient"], "nell@iscb-corporation.com")

    @settings(max_examples=25, deadline=None)
    @given(st.text(alphabet="ab\x1b[31m\r\n\x07\x9b\u202e\u2066\u200f\u061c\u2028é<>", min_size=1, max_size=30))
    def test_nothing_from_outside_moves_a_terminal_or_makes_a_line(self, text: str) -> None:
        shutil.rmtree(self.state)
        os.mkdir(self.state, 0o700)
        history = History(self.path, 30, lambda line, /, **fields: None)
        history.start()
        history.tell(
            "received", ID, sender=text, client=text, helo=text, message_id=text, protocol=text, login=text, tls=text
        )
        history.tell("recipient", ID, original=text, delivered_to=text, user=text, rule=text)
        history.tell("deferred", ID, user=text, recipient=text, status=text)
        history.tell("fetched", ID, user=text, client=text)
        history.tell("refused", ID, client=text, helo=text, sender=text, recipient=text, status=text)
        history.close()
        for arguments in ([ID], [ID, "--json"], [f"x{text}x"]):
            lines = self.ask("--", *arguments).output if "--json" not in arguments else self.ask(*arguments).output
            for char in "\x1b\r\x07\x9b\u202e\u2066\u200f\u061c\u2028":
                self.assertNotIn(char, lines)
        self.assertEqual(len(self.ask(ID).output.splitlines()), 6)

    # who may, and whether there is any

    def test_only_root_and_the_owner_may_ask(self) -> None:
        def refuse(folder: str) -> None:
            self.assertEqual(folder, self.state)
            raise NotAllowed("only root and lanmail (mail_owner) may do this")

        self.patch(why, "become_owner", refuse)
        self.tell()
        told = self.ask("nel")
        self.assertEqual((told.exit_code, told.output), (1, "Error: only root and lanmail (mail_owner) may do this\n"))

    def test_where_none_is_kept_it_says_why(self) -> None:
        self.assertIn("no history is kept yet", self.ask("nel").output)
        with open(self.main_cf, "a") as file:
            file.write("history_days = 0\n")
        self.assertIn("history_days is 0", self.ask("nel").output)

    def test_a_main_cf_that_is_not_there_is_said(self) -> None:
        told = CliRunner().invoke(why_command, ["--config", self.main_cf + ".none", "nel"])
        self.assertEqual(told.exit_code, 1)
        self.assertIn("cannot be read", told.output)


class AsRootTests(SynchronousTestCase):
    if os.geteuid() != 0:
        skip = "needs root"

    def test_root_reads_it_as_its_owner_and_leaves_nothing_that_the_owner_cannot_use(self) -> None:
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        os.chmod(folder, 0o755)
        state = os.path.join(folder, "lanmail")
        os.mkdir(state, 0o700)
        os.chown(state, 1234, 4321)
        history = History(os.path.join(state, "history-0"), 30, lambda line, /, **fields: None)
        history.start()
        tell_all(history.tell)
        history.close()
        main_cf = os.path.join(folder, "main.cf")
        with open(main_cf, "w") as file:
            file.write(MAIN_CF.format(queue=folder))
        os.chmod(main_cf, 0o600)  # root's alone: it is read before
        command = [sys.executable, "-c", "from lanmail.admin.command import main; main()", "why", "-c", main_cf, "nel"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("fetched by nel from 192.168.1.3 with POP3", done.stdout)
        self.assertEqual({os.stat(os.path.join(state, name)).st_uid for name in os.listdir(state)}, {1234})
