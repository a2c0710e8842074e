"""One recording, many cuts. ``python -m tests.powercut`` makes more of both."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from tests.powercut.cuts import asked_by, cut
from tests.powercut.load import Recording, record_load
from tests.powercut.recorder import Step

SEED = 20261125


@functools.cache
def recording(workers: int = 1) -> Recording:
    """For all tests of this module, since it takes some seconds. (Trial has no setUpClass.)"""
    folder = os.path.realpath(tempfile.mkdtemp(prefix="lanmail-powercut-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return record_load(os.path.join(folder, "load"), 4.0, SEED, workers=workers)


class PowerCutTests(SynchronousTestCase):
    timeout = 600

    def test_at_150_points_every_promise_is_kept(self) -> None:
        folder = os.path.realpath(self.mktemp())
        outcome = cut(recording(), folder, points=150, seed=SEED)
        print(outcome)
        self.assertEqual(outcome.faults, {}, f"the folders of these points are in {folder}")
        self.assertEqual(outcome.ways, {"once": 110, "twice": 30, "whole": 10})


class WorkersTests(SynchronousTestCase):
    """Three wrote, each into a journal of its own; one comes up on what is left, or again three, and all of it is taken over."""

    timeout = 600

    def test_at_50_points_every_promise_is_kept(self) -> None:
        folder = os.path.realpath(self.mktemp())
        os.makedirs(folder)
        outcome = cut(recording(3), folder, points=50, seed=SEED, serving=3)
        print(outcome)
        self.assertEqual(outcome.faults, {}, f"the folders of these points are in {folder}")
        self.assertEqual(outcome.ways, {"once": 26, "twice": 7, "whole": 17})
        self.assertIn("journal-2-wal", outcome.syncs)


class BrokenProgramTests(SynchronousTestCase):
    """A program that lacks one sync breaks the promise somewhere, or the test above would prove nothing.

    What was recorded is the whole program, which cannot know whether a sync did anything: so it is left out of the record. For all of
    them, one by one: python -m tests.powercut --each-sync
    """

    timeout = 600

    def missed(self, removed: Callable[[Step], bool]) -> None:
        folder = os.path.realpath(self.mktemp())
        outcome = cut(recording(), folder, points=60, seed=SEED, removed=removed, enough=1)
        self.assertTrue(outcome.faults, f"nobody missed it; asked for were {sorted(outcome.syncs)}")

    def test_without_the_flush_of_the_journal(self) -> None:
        self.missed(lambda sync: sync.path.endswith("/journal-0-wal"))

    def test_without_the_sync_of_a_large_body(self) -> None:
        self.missed(lambda sync: "/incoming/" in sync.path)

    def test_without_the_sync_of_the_name_of_a_large_body(self) -> None:
        self.missed(lambda sync: sync.path.endswith("/incoming"))

    def test_without_the_sync_of_a_mailbox_before_its_rows_are_forgotten(self) -> None:
        self.missed(lambda sync: asked_by(sync).startswith("spool/checkpoint.py") and sync.path != recording().spool)

    def test_without_the_sync_of_the_folder_of_a_mailbox_that_was_made(self) -> None:
        self.missed(lambda sync: sync.path == recording().spool)

    def test_without_the_sync_of_an_expunge_s_journal(self) -> None:
        self.missed(lambda sync: asked_by(sync).startswith("mailbox/redo.py"))

    def test_without_the_sync_of_the_name_of_the_queue_s_folder(self) -> None:
        self.missed(lambda sync: sync.path == recording().queue)
