"""Exclusive use of a maildrop: between sessions, between processes, and when things end in the wrong order."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.mailbox.claims import Claims
from lanmail.mailbox.holdings import Closed, Holdings


class ClaimTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = self.mktemp()
        os.mkdir(self.folder)
        self.claims = Claims(self.folder)

    def test_one_session_keeps_another_of_the_same_process_out(self) -> None:
        first, second = self.claims.of("nel"), self.claims.of("nel")
        self.assertTrue(first.take())
        self.assertFalse(second.take())
        self.assertTrue(self.claims.of("julien").take())
        first.release()
        self.assertTrue(second.take())

    def test_another_process_is_kept_out_until_ours_lets_go_or_dies(self) -> None:
        script = (
            "import sys; from lanmail.mailbox.claims import Claims; c = Claims(sys.argv[1]).of('nel');"
            " print(c.take(), flush=True); sys.stdin.read()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", script, self.folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        ) as other:
            assert other.stdout is not None
            self.assertEqual(other.stdout.readline(), b"True\n")
            self.assertFalse(self.claims.of("nel").take())
            other.kill()
            other.wait()
            self.assertTrue(self.claims.of("nel").take())

    def test_a_claim_that_was_released_takes_nothing_any_more(self) -> None:
        claim = self.claims.of("nel")
        claim.release()
        self.assertFalse(claim.take())
        self.assertTrue(self.claims.of("nel").take())

    def test_letting_go_waits_for_no_disk(self) -> None:
        claim = self.claims.of("nel")
        begun, go_on = threading.Event(), threading.Event()
        opened, taken = os.open, []

        def slow(*args: object, **kwargs: object) -> int:
            begun.set()
            go_on.wait(10)
            return opened(*args, **kwargs)  # type: ignore[arg-type]

        self.patch(os, "open", slow)
        thread = threading.Thread(target=lambda: taken.append(claim.take()))
        thread.start()
        begun.wait(10)
        claim.release()  # here, where the loop runs
        self.assertTrue(thread.is_alive())
        go_on.set()
        thread.join()
        self.patch(os, "open", opened)
        self.assertEqual(taken, [False])
        self.assertTrue(self.claims.of("nel").take())

    def test_the_lock_is_not_lost_when_another_descriptor_of_the_file_is_closed(self) -> None:
        claim = self.claims.of("nel")
        claim.take()
        os.close(os.open(os.path.join(self.folder, "nel"), os.O_RDWR))
        self.assertFalse(self.claims.of("nel").take())

    def test_the_file_is_ours_alone_and_no_link_is_followed(self) -> None:
        self.claims.of("nel").take()
        self.assertEqual(os.stat(os.path.join(self.folder, "nel")).st_mode & 0o777, 0o600)
        os.symlink("/tmp/elsewhere", os.path.join(self.folder, "ann"))
        self.assertRaises(OSError, self.claims.of("ann").take)

    def test_a_name_that_is_no_file_name_is_never_used(self) -> None:
        for name in ("", ".", "..", "../nel", "a\0b"):
            self.assertRaises(AssertionError, self.claims.of, name)


class HoldingsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = self.mktemp()
        os.mkdir(self.folder)
        self.claims = Claims(self.folder)

    def test_what_is_being_read_is_closed_only_when_the_reader_is_done(self) -> None:
        claim = self.claims.of("nel")
        claim.take()
        holdings = Holdings(claim)
        begun, go_on = threading.Event(), threading.Event()
        read: list[bytes] = []

        def reader() -> None:
            with holdings:
                holdings.read_from(os.open(__file__, os.O_RDONLY))
                begun.set()
                go_on.wait(10)
                read.append(os.pread(holdings.fd, 3, 0))

        thread = threading.Thread(target=reader)
        thread.start()
        begun.wait(10)
        holdings.close()
        self.assertFalse(self.claims.of("nel").take(), "not free while somebody works in it")
        go_on.set()
        thread.join()
        self.assertEqual(read, [b'"""'])
        self.assertTrue(self.claims.of("nel").take())

    def test_work_that_comes_too_late_is_told_so(self) -> None:
        holdings = Holdings(self.claims.of("nel"))
        holdings.close()
        with self.assertRaises(Closed), holdings:
            pass

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.sampled_from(["enter", "leave", "close", "open"]), max_size=12))
    def test_in_any_order_nothing_stays_open_and_the_claim_is_free_in_the_end(self, steps: list[str]) -> None:
        before = len(os.listdir("/proc/self/fd"))
        claim = self.claims.of("nel")
        self.assertTrue(claim.take())
        holdings = Holdings(claim)
        inside = 0
        for step in [*steps, "close", *["leave"] * 12]:
            if step == "enter":
                try:
                    holdings.__enter__()
                    inside += 1
                except Closed:
                    pass
            elif step == "leave" and inside:
                holdings.__exit__(None, None, None)
                inside -= 1
            elif step == "open" and inside:
                holdings.read_from(os.open("/dev/null", os.O_RDONLY))
            elif step == "close":
                holdings.close()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
        again = self.claims.of("nel")
        self.assertTrue(again.take())
        again.release()
