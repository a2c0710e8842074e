"""One user's maildrop over a real mailbox file, with other programs at work in it."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from lanmail.interfaces import IMaildrop, MessageGone, Torn, User
from lanmail.mailbox import expunge
from lanmail.mailbox import index as index_module
from lanmail.mailbox import maildrop as maildrop_module
from lanmail.mailbox import snapshot as snapshot_module
from lanmail.mailbox.claims import Claims
from lanmail.mailbox.disk import SystemDisk
from lanmail.mailbox.holdings import Closed
from lanmail.mailbox.index import Index, Stamp
from lanmail.mailbox.index_cache import LARGEST_LISTING, IndexCache
from lanmail.mailbox.locks import Locking, MailboxBusy, MailboxFailure
from lanmail.mailbox.maildrop import CLAIM_PATIENCE, LOCK_PATIENCE, Maildrop, MaildropInUse, Maildrops
from lanmail.mailbox.names import Names
from lanmail.mailbox.saved_index import SavedIndexes
from lanmail.mailbox.store import LockedMailbox, MailboxFile

T = TypeVar("T")
FROM = b"From julien@iscb-corporation.com Fri Nov 21 15:42:42 2003\n"


def message(name: str, body: bytes = b"Bonjour\n", extra: bytes = b"") -> bytes:
    """A message as it stands in the file, with the empty line behind it."""
    return FROM + b"Subject: %s\n" % name.encode() + extra + b"\n" + body + b"\n"


def wire(name: str, body: bytes = b"Bonjour\n", extra: bytes = b"") -> bytes:
    """The same message as POP3 gives it out."""
    return message(name, body, extra)[len(FROM) : -1].replace(b"\n", b"\r\n")


class House:
    """Maildrops over a spool folder of its own, with a clock that only the test turns."""

    def __init__(self, folder: str) -> None:
        self.clock = Clock()
        self.spool, self.state, self.claims = (os.path.join(folder, name) for name in ("spool", "state", "claims"))
        for path in (folder, self.spool, self.state, self.claims):
            os.mkdir(path)
        self.user = User("nel", os.getuid(), os.getgid())
        self.path = os.path.join(self.spool, "nel")
        self.waiting: list[Callable[[], None]] | None = None  # what threads would do, where the test holds them up
        self.wanted: list[str] = []
        self.maildrops = Maildrops(
            self.mailbox,
            Claims(self.claims),
            IndexCache(1_000_000),
            in_thread=self.in_thread,
            sleep=lambda seconds: deferLater(self.clock, seconds),
            dice=lambda: 0.5,
        )
        self.maildrops.wanted = lambda user: self.wanted.append(user.name)

    def mailbox(self, user: User) -> MailboxFile:
        return MailboxFile(
            os.path.join(self.spool, user.name),
            user,
            group=None,
            locking=Locking(),
            state_folder=self.state,
            report=lambda line, /, **fields: None,
        )

    def in_thread(self, work: Callable[..., T], *args: Any) -> Deferred[T]:
        if self.waiting is None:
            return maybeDeferred(work, *args)
        done: Deferred[T] = Deferred()
        self.waiting.append(
            lambda: maybeDeferred(work, *args).addBoth(lambda result: done.called or done.callback(result))
        )
        return done

    def run_threads(self) -> None:
        """What waits for a thread now; not what that leads to."""
        assert self.waiting is not None
        work, self.waiting = self.waiting, []
        for step in work:
            step()

    def write(self, *messages: bytes) -> None:
        """As another program that replaces what is in the file."""
        with open(self.path, "wb") as file:
            file.write(b"".join(messages))

    def deliver(self, *messages: bytes) -> None:
        with open(self.path, "ab") as file:
            file.write(b"".join(messages))

    def read(self) -> bytes:
        try:
            with open(self.path, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""


class WithHouse(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House(self.mktemp())

    def now(self, awaitable: Awaitable[T]) -> T:
        result: T = self.successResultOf(_started(awaitable))
        return result

    def failure(self, awaitable: Awaitable[Any], kind: type[Exception]) -> Exception:
        error: Exception = self.failureResultOf(_started(awaitable), kind).value
        return error

    def opened(self, *messages: bytes) -> Maildrop:
        if messages:
            self.house.write(*messages)
        maildrop = self.now(self.house.maildrops.open(self.house.user))
        self.addCleanup(maildrop.close)
        return maildrop

    def text(self, maildrop: Maildrop, number: int, body_lines: int | None = None) -> bytes:
        return self.now(_whole(maildrop.text(number, body_lines)))


def _started(awaitable: Awaitable[T]) -> Deferred[T]:
    async def waiting() -> T:
        return await awaitable

    return Deferred.fromCoroutine(waiting())


async def _whole(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


class ReadingTests(WithHouse):
    def test_without_a_mailbox_file_it_is_empty_and_makes_none(self) -> None:
        maildrop = self.opened()
        self.assertEqual(list(maildrop.letters), [])
        self.assertEqual(self.now(maildrop.unique_ids()), [])
        self.assertEqual(self.now(maildrop.commit(frozenset())), 0)
        self.assertEqual(os.listdir(self.house.spool), [])

    def test_numbers_octets_and_text_agree(self) -> None:
        big = b"".join(b"%06d: a line of a big letter\n" % n for n in range(40_000))
        names = (("one", b"Bonjour\n"), ("two", big), ("three", b""))
        maildrop = self.opened(*(message(*each) for each in names))
        self.assertEqual([letter.number for letter in maildrop.letters], [1, 2, 3])
        self.assertEqual(maildrop.letters[1], list(maildrop.letters)[1])
        self.assertEqual(list(maildrop.letters[1:]), list(maildrop.letters)[1:])
        for letter, each in zip(maildrop.letters, names, strict=True):
            text = self.text(maildrop, letter.number)
            self.assertEqual(text, wire(*each))
            self.assertEqual(len(text), letter.octets)
        self.assertEqual(self.text(maildrop, 2, 1), wire("two", b"000000: a line of a big letter\n"))
        self.assertEqual(len(set(self.now(maildrop.unique_ids()))), 3)

    def test_a_big_letter_is_read_in_windows_each_in_one_hop(self) -> None:
        hops: list[object] = []
        maildrop = self.opened(message("big", b"x" * 99 + b"\n" + b"y" * 1_000_000 + b"\n"))
        in_thread = self.house.maildrops.in_thread
        self.house.maildrops.in_thread = lambda work, *args: (hops.append(work), in_thread(work, *args))[1]  # type: ignore[assignment]
        self.text(maildrop, 1)
        self.assertGreater(len(hops), 1_000_000 // (maildrop_module.WINDOW + 65536))
        self.assertLess(len(hops), 2 + 1_000_000 // maildrop_module.WINDOW + 1)

    def test_what_twisted_asks_of_a_mailbox_is_there_too(self) -> None:
        maildrop = self.opened(message("one"), message("two"), message("three"))
        verifyObject(IMaildrop, maildrop)
        self.assertEqual(maildrop.listMessages(), [len(wire(name)) for name in ("one", "two", "three")])
        self.assertEqual(maildrop.listMessages(0), len(wire("one")))
        with maildrop.getMessage(1) as file:
            self.assertEqual(file.read(), wire("two"))
        self.assertEqual(maildrop.getUidl(1).decode(), self.now(maildrop.unique_ids())[1])
        maildrop.deleteMessage(0)
        self.assertEqual(maildrop.listMessages(0), 0)
        maildrop.undeleteMessages()
        maildrop.deleteMessage(1)
        maildrop.sync()
        self.assertEqual(self.house.read(), message("one") + message("three"))
        self.assertRaises(ValueError, maildrop.getMessage, 3)
        self.assertRaises(ValueError, maildrop.getUidl, -1)


class InterruptedTests(WithHouse):
    def test_an_expunge_that_a_crash_interrupted_is_finished_at_start(self) -> None:
        self.house.write(message("one"), message("two"), message("three"))
        said: list[str] = []
        for user in ("nel", "gone"):
            journal = expunge.journal_path(self.house.state, user)
            with open(self.house.path, "r+b") as file, contextlib.suppress(RuntimeError):
                length = len(message("one"))
                expunge.take_out(file.fileno(), journal, [(length, length + 1)], keep_alive=self.crash, window=8)
        self.assertEqual(expunge.interrupted(self.house.state), ["gone", "nel"])

        class People:
            async def find(self, name: str) -> User | None:
                return User("nel", os.getuid(), os.getgid()) if name == "nel" else None

        self.now(
            self.house.maildrops.finish_expunges(
                self.house.state, People(), lambda line, /, **fields: said.append(line.format(**fields))
            )
        )
        self.assertEqual(expunge.interrupted(self.house.state), ["gone"])
        self.assertEqual(len(said), 1)
        self.assertIn(
            "mailbox of gone: an interrupted expunge is not finished: [Errno 2] there is no such user", said[0]
        )

    @staticmethod
    def crash() -> None:
        raise RuntimeError


class CommitTests(WithHouse):
    def test_what_arrived_during_the_session_is_kept(self) -> None:
        maildrop = self.opened(message("one"), message("two"))
        self.house.deliver(message("three"))
        self.assertEqual(len(maildrop.letters), 2)
        self.assertEqual(self.text(maildrop, 2), wire("two"))
        self.assertEqual(self.now(maildrop.commit(frozenset({1, 2}))), 1)
        self.assertEqual(self.house.read(), message("three"))

    def test_everything_and_nothing(self) -> None:
        maildrop = self.opened(message("one"), message("two"))
        self.assertEqual(self.now(maildrop.commit(frozenset())), 2)
        self.assertEqual(self.now(maildrop.commit(frozenset({1, 2}))), 0)
        self.assertEqual(self.house.read(), b"")
        self.assertTrue(os.path.exists(self.house.path))

    def test_nothing_to_delete_needs_no_lock(self) -> None:
        maildrop = self.opened(message("one"))
        with self.house.mailbox(self.house.user).lock(create=False):
            self.assertEqual(self.now(maildrop.commit(frozenset())), 1)

    def test_of_equal_letters_the_right_one_goes(self) -> None:
        maildrop = self.opened(message("x"), message("one"), message("x"), message("two"), message("x"))
        self.now(maildrop.commit(frozenset({3})))
        self.assertEqual(self.house.read(), message("x") + message("one") + message("two") + message("x"))

    def test_a_mailbox_that_another_program_removed_is_no_error(self) -> None:
        maildrop = self.opened(message("one"))
        os.unlink(self.house.path)
        self.assertEqual(self.now(maildrop.commit(frozenset({1}))), 0)

    def test_a_failed_expunge_loses_nothing_and_the_next_one_works(self) -> None:
        before = message("one") + message("two") + message("three")
        maildrop = self.opened(before)
        for call in ("write", "reserve", "sync"):
            patched = self.patch(SystemDisk, call, _raise_enospc)
            self.failure(maildrop.commit(frozenset({1})), MailboxFailure)
            patched.restore()
            self.assertEqual(self.house.read(), before)
        maildrop.close()
        again = self.opened()
        self.assertEqual(self.now(again.commit(frozenset({1}))), 2)
        self.assertEqual(self.house.read(), message("two") + message("three"))


def _raise_enospc(*args: object, **kwargs: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class RewrittenTests(WithHouse):
    """Another program, mutt say, writes the file anew while a session is open."""

    STATUS = b"Status: RO\n"

    def rewritten(self, *names: str) -> None:
        self.house.write(*(message(name, extra=self.STATUS) for name in names))

    def test_a_letter_is_found_again_by_what_it_says(self) -> None:
        maildrop = self.opened(message("one"), message("two"), message("three"))
        self.now(maildrop.unique_ids())
        self.rewritten("three", "one", "two")
        self.assertEqual(self.text(maildrop, 1), wire("one", extra=self.STATUS))
        self.assertEqual(self.text(maildrop, 3), wire("three", extra=self.STATUS))
        self.assertEqual(self.now(maildrop.commit(frozenset({1}))), 2)
        self.assertEqual(self.house.read(), message("three", extra=self.STATUS) + message("two", extra=self.STATUS))

    def test_a_letter_that_was_removed_is_gone_and_the_others_are_not(self) -> None:
        maildrop = self.opened(message("one"), message("two"), message("three"))
        self.now(maildrop.unique_ids())
        self.rewritten("one", "three")
        self.failure(_whole(maildrop.text(2)), MessageGone)
        self.assertEqual(self.text(maildrop, 3), wire("three", extra=self.STATUS))
        self.assertEqual(self.now(maildrop.commit(frozenset({2, 3}))), 1)
        self.assertEqual(self.house.read(), message("one", extra=self.STATUS))

    def test_without_uidl_nothing_is_deleted_that_cannot_be_recognised(self) -> None:
        maildrop = self.opened(message("one"), message("two"))
        self.rewritten("two", "one")
        self.failure(_whole(maildrop.text(1)), MessageGone)
        before = self.house.read()
        self.failure(maildrop.commit(frozenset({1})), MailboxFailure)
        self.assertEqual(self.house.read(), before)

    def test_names_that_cannot_be_known_any_more_are_an_error(self) -> None:
        maildrop = self.opened(message("one"), message("two"))
        self.rewritten("two", "one")
        self.failure(maildrop.unique_ids(), MailboxFailure)

    def test_names_are_the_same_in_the_next_session_whatever_was_rewritten(self) -> None:
        maildrop = self.opened(message("one"), message("two"))
        one, two = self.now(maildrop.unique_ids())
        maildrop.close()
        self.rewritten("two", "one")
        self.assertEqual(self.now(self.opened().unique_ids()), [two, one])

    def test_a_letter_that_is_rewritten_while_it_goes_out_is_torn(self) -> None:
        body = b"z" * 99 + b"\n" + b"y" * 999_999 + b"\n"
        maildrop = self.opened(message("big", body), message("two"))
        heard: list[bytes] = []

        async def slowly() -> None:
            async for chunk in maildrop.text(1):
                heard.append(chunk)
                if len(heard) == 1:
                    self.rewritten("two", "one")

        self.failure(slowly(), Torn)
        self.assertTrue(wire("big", body).startswith(b"".join(heard)))

    def test_a_delivery_while_a_letter_goes_out_changes_nothing(self) -> None:
        body = b"y" * 999_999 + b"\n"
        maildrop = self.opened(message("big", body))

        async def slowly() -> bytes:
            heard = b""
            async for chunk in maildrop.text(1):
                heard += chunk
                self.house.deliver(message("more"))
            return heard

        self.assertEqual(self.now(slowly()), wire("big", body))

    @settings(max_examples=60, deadline=None)
    @given(
        letters=st.lists(st.sampled_from("abcdef"), min_size=1, max_size=7),
        removed=st.sets(st.integers(0, 6)),
        rewrites=st.booleans(),
        arrives=st.lists(st.sampled_from("xyz"), max_size=3),
        deleted=st.sets(st.integers(1, 7)),
    )
    def test_what_is_left_is_what_nobody_removed(
        self, letters: list[str], removed: set[int], rewrites: bool, arrives: list[str], deleted: set[int]
    ) -> None:
        self.house.write(*map(message, letters))
        maildrop = self.now(self.house.maildrops.open(self.house.user))
        self.now(maildrop.unique_ids())
        kept = list(enumerate(letters, 1))
        extra = b""
        if rewrites:
            extra = self.STATUS
            kept = [each for at, each in enumerate(kept) if at not in removed]
            self.rewritten(*(name for _, name in kept))
        self.house.deliver(*map(message, arrives))
        deleted = {number for number in deleted if number <= len(letters)}
        self.now(maildrop.commit(frozenset(deleted)))
        maildrop.close()
        left = _subjects(self.house.read())
        if not rewrites:
            self.assertEqual(left, [name for number, name in kept if number not in deleted] + arrives)
            return
        # Equal letters are one another's equals: of each name as many are left as were neither deleted nor removed, at the
        # least; a deletion whose letter is gone may take an equal one that is still there.
        for name in "abcdef":
            there = sum(each == name for _, each in kept)
            marked = sum(letters[number - 1] == name for number in deleted)
            self.assertIn(left.count(name), range(max(0, there - marked), there + 1))
            if not marked:
                self.assertEqual(left.count(name), there)
        self.assertEqual([name for name in left if name in "xyz"], arrives)
        del extra


def _subjects(data: bytes) -> list[str]:
    return [line.decode()[9:] for line in data.splitlines() if line.startswith(b"Subject: ")]


class WaitingTests(WithHouse):
    def pump(self, seconds: float) -> None:
        for _ in range(round(seconds * 100)):
            self.house.clock.advance(0.01)

    def test_a_second_login_waits_three_seconds_and_then_is_told(self) -> None:
        self.opened(message("one"))
        second = _started(self.house.maildrops.open(self.house.user))
        self.pump(CLAIM_PATIENCE - 0.5)
        self.assertNoResult(second)
        self.pump(1)
        self.failureResultOf(second, MaildropInUse)
        self.assertEqual(set(self.house.wanted), {"nel"})

    def test_how_long_it_waits_is_the_administrators(self) -> None:
        self.opened(message("one"))
        self.house.maildrops.claim_wait = 10.0
        second = _started(self.house.maildrops.open(self.house.user))
        self.pump(9.5)
        self.assertNoResult(second)
        self.pump(2)
        self.failureResultOf(second, MaildropInUse)

    def test_a_second_login_succeeds_as_soon_as_the_first_session_ends(self) -> None:
        first = self.opened(message("one"))
        second = _started(self.house.maildrops.open(self.house.user))
        self.pump(1)
        first.close()
        self.pump(0.3)
        self.successResultOf(second).close()

    def test_a_session_that_is_ended_for_the_login_makes_room_for_it(self) -> None:
        first = self.opened(message("one"))
        self.house.maildrops.wanted = lambda user: first.close()
        second = _started(self.house.maildrops.open(self.house.user))
        self.pump(0.3)
        self.successResultOf(second).close()

    def test_a_mailbox_that_another_program_holds_is_waited_for(self) -> None:
        self.house.write(message("one"))
        with self.house.mailbox(self.house.user).lock(create=False):
            opening = _started(self.house.maildrops.open(self.house.user))
            self.pump(5)
            self.assertNoResult(opening)
        self.pump(0.3)
        maildrop = self.successResultOf(opening)
        with self.house.mailbox(self.house.user).lock(create=False):
            ending = _started(maildrop.commit(frozenset({1})))
            self.pump(5)
            self.assertNoResult(ending)
        self.pump(0.3)
        self.assertEqual(self.successResultOf(ending), 0)
        maildrop.close()

    def test_and_not_for_ever(self) -> None:
        self.house.write(message("one"))
        with self.house.mailbox(self.house.user).lock(create=False):
            opening = _started(self.house.maildrops.open(self.house.user))
            self.pump(LOCK_PATIENCE + 1)
            self.failureResultOf(opening, MailboxBusy)
        self.opened()

    def test_no_lock_of_the_mailbox_is_held_while_a_session_is_open(self) -> None:
        self.opened(message("one"))
        self.house.mailbox(self.house.user).lock(create=False).release()


class ClosingTests(WithHouse):
    def free(self) -> bool:
        claim = Claims(self.house.claims).of("nel")
        taken = claim.take()
        claim.release()
        return taken

    def test_a_login_that_nobody_waits_for_any_more_leaves_no_claim(self) -> None:
        self.house.write(message("one"))
        self.house.waiting = []  # it is on its way to the claim
        opening = _started(self.house.maildrops.open(self.house.user))
        opening.cancel()
        self.failureResultOf(opening, CancelledError)
        self.house.run_threads()
        self.assertTrue(self.free())

    def test_nor_does_one_that_has_the_claim_and_waits_for_another_programs_lock(self) -> None:
        self.house.write(message("one"))
        with open(self.house.path + ".lock", "x"):
            opening = _started(self.house.maildrops.open(self.house.user))
        self.assertFalse(self.free())
        opening.cancel()
        self.failureResultOf(opening, CancelledError)
        self.assertTrue(self.free())

    def test_a_login_that_fails_leaves_no_claim(self) -> None:
        os.symlink("/etc/passwd", self.house.path)
        self.failure(self.house.maildrops.open(self.house.user), MailboxFailure)
        self.assertTrue(self.free())

    def test_closing_twice_is_closing(self) -> None:
        maildrop = self.opened(message("one"))
        maildrop.close()
        maildrop.close()
        self.assertTrue(self.free())
        self.failure(maildrop.commit(frozenset({1})), Closed)
        self.assertEqual(self.house.read(), message("one"))

    def test_a_commit_under_way_ends_before_the_next_session_begins(self) -> None:
        maildrop = self.opened(message("one"), message("two"))
        real = MailboxFile.lock
        free: list[bool] = []

        def lock(mailbox: MailboxFile, *, create: bool) -> object:
            maildrop.close()  # the client leaves while the thread is at work
            free.append(self.free())
            return real(mailbox, create=create)

        self.patch(MailboxFile, "lock", lock)
        self.now(maildrop.commit(frozenset({1})))
        self.assertEqual(free, [False])
        self.assertTrue(self.free())
        self.assertEqual(self.house.read(), message("two"))

    def test_a_client_that_does_not_wait_for_the_answer_to_quit_has_quit(self) -> None:
        self.patch(snapshot_module, "SMALL", 0)
        os.mkdir(indexes := self.mktemp())
        self.house.maildrops.saved = SavedIndexes(indexes)
        maildrop = self.opened(message("one"), message("two"))
        self.house.waiting = []
        done = _started(maildrop.commit(frozenset({1})))
        self.house.run_threads()
        maildrop.close()
        self.house.run_threads()
        self.assertEqual(self.successResultOf(done), 1)

    def test_descriptors_are_not_left_open(self) -> None:
        self.house.write(message("one"), message("two"))
        before = len(os.listdir("/proc/self/fd"))
        for deleted in ((), (1,), (1,)):
            maildrop = self.now(self.house.maildrops.open(self.house.user))
            self.text(maildrop, 1)
            self.now(maildrop.commit(frozenset(deleted)))
            maildrop.close()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)


class IndexCacheTests(WithHouse):
    def test_the_next_session_reads_only_what_is_new(self) -> None:
        maildrop = self.opened(*(message(str(n)) for n in range(10)))
        names = list(self.now(maildrop.unique_ids()))
        maildrop.close()
        self.house.deliver(message("new"))
        again = self.opened()
        self.assertEqual(len(again.letters), 11)
        index = again._snapshot.latest
        assert index is not None
        self.assertEqual(len(index.identities) // 16, 10, "the names of the old ones are known")
        self.assertEqual(list(self.now(again.unique_ids()))[:10], names)

    def test_a_login_that_waited_for_another_session_has_its_index(self) -> None:
        first = self.opened(message("one"), message("two"))
        second = _started(self.house.maildrops.open(self.house.user))
        first.close()

        def read_again(*args: object) -> None:
            raise AssertionError("the mailbox was read again")

        self.patch(index_module, "_read", read_again)
        self.house.clock.advance(1)
        maildrop = self.successResultOf(second)
        self.addCleanup(maildrop.close)
        self.assertEqual(len(maildrop.letters), 2)

    def test_the_longest_unused_is_forgotten_when_there_are_too_many(self) -> None:
        indexes = [Index(Stamp(0, 0, 0, 0, 0), settled=True) for _ in range(3)]
        cache = IndexCache(5 * indexes[0].weight // 2)
        for name, index in zip("abc", indexes, strict=True):
            cache.keep(name, index)
        self.assertEqual([cache.take(name) is None for name in "abc"], [True, False, False])
        big = indexes[0]
        big.identities += bytes(5000)
        cache.keep("big", big)
        self.assertIsNone(cache.take("big"))

    def test_a_listing_is_remembered_unless_it_is_large(self) -> None:
        cache = IndexCache()
        index = Index(Stamp(0, 0, 0, 0, 0), settled=True)
        for lines, kept in (b"1 a\r\n", True), (b"x" * (LARGEST_LISTING + 1), False):
            index.names = Names(lines)
            cache.keep("nel", index)
            self.assertEqual(index.names is not None, kept)


class LookTests(WithHouse):
    """A mailbox that is as it was is neither locked nor opened."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(index_module, "_TICK_NS", -(10**18))  # as if the mailbox had been left alone for a while
        self.locked = 0
        lock = MailboxFile.lock

        def counting(mailbox: MailboxFile, *, create: bool) -> LockedMailbox:
            self.locked += 1
            return lock(mailbox, create=create)

        self.patch(MailboxFile, "lock", counting)
        maildrop = self.opened(message("one"), message("two"))
        self.names = list(self.now(maildrop.unique_ids()))
        maildrop.close()
        self.locked = 0

    def test_a_poll_of_an_unchanged_mailbox_takes_no_lock(self) -> None:
        maildrop = self.opened()
        self.assertEqual([letter.octets for letter in maildrop.letters], [len(wire("one")), len(wire("two"))])
        self.assertEqual(list(self.now(maildrop.unique_ids())), self.names)
        self.assertEqual(self.now(maildrop.commit(frozenset())), 2)
        self.assertEqual(self.locked, 0)

    def test_a_letter_can_be_read_and_deleted_all_the_same(self) -> None:
        maildrop = self.opened()
        self.assertEqual(self.text(maildrop, 2), wire("two"))
        self.assertEqual(self.now(maildrop.commit(frozenset((1,)))), 1)
        self.assertEqual(self.house.read(), message("two"))
        maildrop.close()
        other = self.opened()
        self.assertEqual(other.getMessage(0).read(), wire("two"))

    def test_what_was_rewritten_between_the_look_and_the_reading_is_found_again_by_its_name(self) -> None:
        maildrop = self.opened()
        self.house.write(message("new"), message("two"))
        self.assertEqual(self.text(maildrop, 2), wire("two"))
        self.failure(maildrop.text(1).__anext__(), MessageGone)

    def test_whatever_was_done_to_the_file_it_is_locked_and_judged_again(self) -> None:
        for change in (
            lambda: self.house.deliver(message("three")),
            lambda: os.chmod(self.house.path, 0o600),
            lambda: os.utime(self.house.path, (1, 1)),
        ):
            locked = self.locked
            change()
            self.opened().close()
            self.assertEqual(self.locked, locked + 1)
        os.link(self.house.path, self.house.path + ".other")
        self.failure(self.house.maildrops.open(self.house.user), MailboxFailure)

    def test_names_that_are_not_known_yet_are_made_under_the_lock(self) -> None:
        index = self.house.maildrops.indexes.take(self.house.path)
        assert index is not None
        index.names, index.identities = None, bytearray()
        self.house.maildrops.indexes.keep(self.house.path, index)
        self.assertEqual(list(self.now(self.opened().unique_ids())), self.names)
        self.assertEqual(self.locked, 1)


class AheadTests(WithHouse):
    """Small letters are read several at a time."""

    def setUp(self) -> None:
        super().setUp()
        self.texts = [message(str(number), b"x\n" * 3000) for number in range(20)]
        self.wires = [wire(str(number), b"x\n" * 3000) for number in range(20)]

    def test_who_asks_for_one_after_the_other_mostly_has_it_at_once(self) -> None:
        maildrop = self.opened(*self.texts)
        waited = 0
        for number, expected in enumerate(self.wires, 1):
            text = maildrop.at_hand(number)
            if text is None:
                waited += 1
                text = self.text(maildrop, number)
            self.assertEqual(text, expected)
        self.assertEqual(waited, 2)

    def test_what_arrived_after_the_login_is_none_of_its_letters(self) -> None:
        maildrop = self.opened(*self.texts[:2])
        self.house.deliver(message("new"))
        self.assertEqual(self.text(maildrop, 1), self.wires[0])
        self.assertEqual([maildrop.at_hand(2), maildrop.at_hand(3)], [self.wires[1], None])

    def test_a_large_letter_is_not_read_with_others(self) -> None:
        maildrop = self.opened(message("large", b"x\n" * 100_000), *self.texts)
        self.assertEqual(self.text(maildrop, 1), wire("large", b"x\n" * 100_000))
        self.assertIsNone(maildrop.at_hand(2))

    def test_after_the_file_was_rewritten_letters_are_found_by_their_names_one_by_one(self) -> None:
        maildrop = self.opened(*self.texts)
        self.now(maildrop.unique_ids())
        self.house.write(*self.texts[5:])
        for number in (6, 7):
            self.assertEqual(self.text(maildrop, number), self.wires[number - 1])
        self.assertIsNone(maildrop.at_hand(8))
