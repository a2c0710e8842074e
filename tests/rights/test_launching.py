"""The guard of accounts/ over helpers that the root parent starts: as with children of our own."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from lanmail.accounts.guard import Answer, Guard, GuardTrouble
from lanmail.accounts.helper import CHECK_PASSWORD, FIND_USER
from lanmail.rights import channel, parent
from lanmail.rights.duties import Duties
from lanmail.rights.launching import Launching
from lanmail.rights.starting import pam_folder, start
from tests.accounts.fakes import RememberingReport, pam_service

reactor: Any = global_reactor

HANGS = "auth required pam_exec.so quiet /bin/sleep 4711\n"


class LaunchingTests(TestCase):
    def begin(self, **duties: Any) -> None:
        self.channels = start(Duties("/var/mail", ((1000, 60000),), pam_folder=pam_folder(), **duties))
        self.addCleanup(self.channels.process.wait, 10)
        self.addCleanup(self.channels.threads.close)
        self.launching = Launching(self.channels.loop, reactor)
        self.lost: list[str] = []
        self.launching.lost.addCallback(self.lost.append)
        self.launching.start()
        self.addCleanup(self.launching.stop)

    def guard(self, kind: bytes = parent.NAMES, **limits: Any) -> Guard:
        self.report = RememberingReport()
        guard = Guard(self.launching.launch(kind), reactor, self.report, **limits)
        self.addCleanup(guard.stop)
        return guard

    def helpers(self) -> list[int]:
        pid = self.channels.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    async def until(self, condition: Any) -> None:
        for _ in range(500):
            if condition():
                return
            await deferLater(reactor, 0.01)
        self.fail("it did not happen")

    async def test_questions_are_answered_and_a_helper_is_used_again(self) -> None:
        self.begin()
        guard = self.guard()
        guard.start()
        answers = [await guard.ask(FIND_USER, b"root") for _ in range(5)]
        self.assertEqual({(a.yes, a.fields[1]) for a in answers}, {(True, b"0")})
        self.assertEqual(len(self.helpers()), 1)
        self.assertEqual((await guard.ask(FIND_USER, b"nobody-of-that-name")).yes, False)

    async def test_many_questions_at_once(self) -> None:
        self.begin()
        guard = self.guard(helpers=3)
        asked = [guard.ask(FIND_USER, b"root", host=str(n % 7)) for n in range(60)]
        self.assertTrue(all([(await each).yes for each in asked]))
        self.assertEqual(len(self.helpers()), 3)

    async def test_one_that_hangs_in_a_module_is_ended_with_what_the_module_started(self) -> None:
        service = pam_service(self, HANGS)
        self.begin(pam_service=service)
        guard = self.guard(parent.PASSWORDS, time_limit=3.0)
        asked = guard.ask(CHECK_PASSWORD, b"root", b"x", b"")
        seen: list[tuple[int, int]] = []
        await self.until(
            lambda: seen or seen.extend((one, two) for one in self.helpers() for two in self.children_of(one))
        )
        ((helper, sleeper),) = seen
        trouble = await self.assertFailure(asked, GuardTrouble)
        self.assertEqual(str(trouble), "no answer within 3 s")
        await self.until(lambda: not any(os.path.exists(f"/proc/{pid}/exe") for pid in (helper, sleeper)))
        await self.until(lambda: not self.helpers())  # and its end is taken note of

    def children_of(self, pid: int) -> list[int]:
        found: list[int] = []
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
        except FileNotFoundError:
            pass
        return found

    async def test_one_that_dies_is_replaced_and_who_asked_is_told(self) -> None:
        self.begin()
        guard = self.guard()
        await guard.ask(FIND_USER, b"root")
        (helper,) = self.helpers()
        os.kill(helper, signal.SIGSTOP)
        asked = guard.ask(FIND_USER, b"root")
        os.kill(helper, signal.SIGKILL)
        await self.assertFailure(asked, GuardTrouble)
        self.assertIn("was lost", str(self.report))
        self.assertIn("signal 9", str(self.report))
        self.assertTrue((await guard.ask(FIND_USER, b"root")).yes)

    async def test_one_that_cannot_be_started_is_trouble(self) -> None:
        self.begin(most=0)
        trouble = await self.assertFailure(self.guard().ask(FIND_USER, b"root"), GuardTrouble)
        self.assertIn("there are 0 helpers already", str(trouble))

    async def test_stopping_the_guard_waits_for_the_helpers_and_the_parent_lives(self) -> None:
        self.begin()
        guard = self.guard()
        await guard.ask(FIND_USER, b"root")
        await guard.stop()
        self.assertEqual(self.helpers(), [])
        self.assertTrue((await self.guard().ask(FIND_USER, b"root")).yes)
        self.assertEqual(self.lost, [])

    async def test_a_parent_that_dies_is_missed_and_every_question_is_trouble(self) -> None:
        self.begin()
        guard = self.guard()
        await guard.ask(FIND_USER, b"root")
        os.kill(self.helpers()[0], signal.SIGSTOP)
        asked: Deferred[Answer] = guard.ask(FIND_USER, b"root")
        helpers = self.helpers()
        self.channels.process.kill()
        await self.until(lambda: self.lost)
        self.assertEqual(self.lost, ["the guard's root parent is lost: it ended"])
        await self.assertFailure(asked, GuardTrouble)
        await self.assertFailure(guard.ask(FIND_USER, b"root"), GuardTrouble)
        await guard.stop()
        for pid in helpers:
            os.kill(pid, signal.SIGCONT)
        await self.until(lambda: not any(os.path.exists(f"/proc/{pid}/exe") for pid in helpers))

    async def test_a_parent_that_is_broken_says_why(self) -> None:
        self.begin()
        channel.send(self.channels.loop, b"?")
        await self.until(lambda: self.lost)
        self.assertIn("a request of no kind that is known here", self.lost[0])

    async def test_stopping_is_no_loss(self) -> None:
        self.begin()
        self.launching.stop()
        self.assertEqual(self.channels.process.wait(10), 0)
        await deferLater(reactor, 0.01)
        self.assertEqual(self.lost, [])
        await self.assertFailure(self.guard().ask(FIND_USER, b"root"), GuardTrouble)
