"""Threads that ask helpers of root's, and helpers and a parent that do not answer."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from lanmail.accounts.guard import GuardTrouble
from lanmail.rights import opener
from lanmail.rights.asking import Asking
from lanmail.rights.duties import Duties
from lanmail.rights.starting import start
from tests.live import ROOT, wait_for


class AskingTests(SynchronousTestCase):
    def begin(self, time_limit: float = 10.0, most: int = 8, **duties: Any) -> Asking:
        files = duties.pop("files", ["/etc/passwd", "/etc/group"])
        self.channels = start(Duties("/var/mail", ((1000, 60000),), files=files, **duties))
        self.addCleanup(self.channels.process.wait, 10)
        self.addCleanup(self.channels.close)
        self.asking = Asking(self.channels.threads, most=most, time_limit=time_limit)
        self.addCleanup(self.asking.close)
        return self.asking

    def text(self, place: int = 0) -> bytes:
        answer = self.asking.ask(opener.FILE, b"%d" % place)
        self.assertEqual(answer.kind, opener.OPENED)
        with open(answer.only_descriptor(), "rb") as file:
            return file.read()

    def helpers(self) -> list[int]:
        pid = self.channels.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def test_files_are_handed_over_by_their_places(self) -> None:
        self.begin()
        for place, path in enumerate(("/etc/passwd", "/etc/group")):
            self.assertEqual(self.text(place), Path(path).read_bytes())
        self.assertEqual(len(self.helpers()), 1)

    def test_a_place_that_does_not_exist_ends_the_helper_and_another_takes_its_place(self) -> None:
        self.begin()
        for place in (b"2", b"-1", b"/etc/shadow", b""):
            self.assertRaises(GuardTrouble, self.asking.ask, opener.FILE, place)
        self.assertIn(b"root:", self.text())

    def test_many_threads_ask_and_each_has_its_own_answer(self) -> None:
        self.begin(most=3)
        wanted = [Path(path).read_bytes() for path in ("/etc/passwd", "/etc/group")]
        with ThreadPoolExecutor(12) as pool:
            answers = [*pool.map(lambda n: self.text(n % 2) == wanted[n % 2], range(200))]
        self.assertTrue(all(answers))
        self.assertLessEqual(len(self.helpers()), 3)

    def test_who_comes_while_one_answers_waits_for_it_and_not_for_another_process(self) -> None:
        self.begin()
        with ThreadPoolExecutor(8) as pool:
            [*pool.map(lambda _: self.text(), range(40))]
        self.assertLess(len(self.helpers()), 4)

    def test_a_helper_that_has_died_is_replaced_without_a_word(self) -> None:
        self.begin()
        for _ in range(3):
            self.text()
            (helper,) = self.helpers()
            os.kill(helper, signal.SIGKILL)
            wait_for(lambda: not self.helpers(), self.helpers)

    def test_helpers_that_nobody_asks_end_and_the_next_question_has_a_new_one(self) -> None:
        self.begin()
        with ThreadPoolExecutor(4) as pool:
            [*pool.map(lambda _: self.text(), range(40))]
        wait_for(lambda: not self.helpers(), self.helpers)
        self.assertIn(b"root:", self.text())

    def test_one_that_does_not_answer_is_ended_and_another_asked_next_time(self) -> None:
        self.begin(time_limit=0.5)
        self.text()
        (helper,) = self.helpers()
        os.kill(helper, signal.SIGSTOP)
        trouble = self.assertRaises(GuardTrouble, self.text)
        self.assertEqual(str(trouble), "no answer within 0.5 s")
        wait_for(lambda: helper not in self.helpers(), self.helpers)
        self.text()

    def test_who_waits_for_a_helper_that_is_free_does_not_wait_for_ever(self) -> None:
        self.begin(time_limit=0.5, most=1)
        self.text()
        os.kill(self.helpers()[0], signal.SIGSTOP)
        with ThreadPoolExecutor(3) as pool:
            asked = [pool.submit(self.text) for _ in range(3)]
            troubles = [str(each.exception(10)) for each in asked]
        self.assertIn("no answer within 0.5 s", troubles)

    def test_a_parent_that_sleeps_is_trouble_and_what_it_says_late_is_nobody_s(self) -> None:
        self.begin(time_limit=0.5)
        self.channels.process.send_signal(signal.SIGSTOP)
        for _ in range(2):
            self.assertEqual(str(self.assertRaises(GuardTrouble, self.text)), "the root parent does not answer")
        self.channels.process.send_signal(signal.SIGCONT)
        self.assertIn(b"root:", self.text())
        wait_for(lambda: len(self.helpers()) == 1, self.helpers)  # those that were started for nobody have ended

    def test_a_parent_that_has_gone_is_trouble(self) -> None:
        self.begin()
        self.channels.process.kill()
        self.channels.process.wait()
        self.assertEqual(str(self.assertRaises(GuardTrouble, self.text)), "the root parent has gone")

    def test_what_is_signed_comes_from_a_process_that_ends_with_it(self) -> None:
        self.begin(signer="tests.rights.signing:sign", argument="here", folders=[str(ROOT)])
        for _ in range(2):
            self.assertEqual(self.asking.sign(b"x"), b"x, here, uid %d" % os.geteuid())
        self.assertEqual(len(self.asking.sign(bytes(60000))), 60000 + len(b", here, uid %d" % os.geteuid()))
        wait_for(lambda: not self.helpers(), self.helpers)

    def test_what_is_not_signed_is_said_why(self) -> None:
        self.begin(signer="tests.rights.signing:sign", folders=[str(ROOT)])
        trouble = self.assertRaises(GuardTrouble, self.asking.sign, b"too much")
        self.assertEqual(str(trouble), "ValueError: that is not to be signed")
        self.assertRaises(ValueError, self.asking.sign, bytes(70000))

    def test_where_nobody_signs_that_is_said(self) -> None:
        self.begin()
        self.assertIn("nobody signs", str(self.assertRaises(GuardTrouble, self.asking.sign, b"x")))
