"""Twin of lanmail/driving.py."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from lanmail.driving import drive


class DriveTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.ends: list[Failure | None] = []
        self.seen: list[object] = []

    async def take(self, *answers: Deferred[int]) -> None:
        for answer in answers:
            try:
                self.seen.append(await answer)
            except ValueError as error:
                self.seen.append(str(error))

    def test_what_never_waits_is_over_at_once(self) -> None:
        drive(self.take(succeed(1), succeed(2)), self.ends.append)
        self.assertEqual((self.seen, self.ends), ([1, 2], [None]))

    def test_it_goes_on_when_what_it_waits_for_fires(self) -> None:
        first: Deferred[int] = Deferred()
        second: Deferred[int] = Deferred()
        drive(self.take(first, second), self.ends.append)
        second.callback(2)
        self.assertEqual((self.seen, self.ends), ([], []))
        first.callback(1)
        self.assertEqual((self.seen, self.ends), ([1, 2], [None]))

    def test_a_failure_is_raised_where_it_is_awaited(self) -> None:
        waited: Deferred[int] = Deferred()
        drive(self.take(waited), self.ends.append)
        waited.errback(ValueError("no"))
        self.assertEqual((self.seen, self.ends), (["no"], [None]))

    def test_what_it_raises_is_heard_whole(self) -> None:
        async def fail(waited: Deferred[int]) -> None:
            await waited
            raise KeyError("gone")

        waited: Deferred[int] = Deferred()
        drive(fail(waited), self.ends.append)
        waited.callback(1)
        drive(fail(succeed(1)), self.ends.append)
        for failure in self.ends:
            assert failure is not None
            self.assertIsInstance(failure.value, KeyError)
            self.assertIn("in fail", failure.getTraceback())
        # What failed elsewhere and was not caught is no unhandled error of that Deferred.
        broken: Deferred[int] = Deferred()
        drive(fail(broken), self.ends.append)
        broken.errback(RuntimeError("disk"))
        self.assertEqual(str(self.ends[-1] and self.ends[-1].value), "disk")
