"""The POP3 rim in memory: what is done about each event, in which order, and what is left afterwards."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import formatEvent
from twisted.mail.interfaces import IMailboxPOP3, IServerFactoryPOP3
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from lanmail.interfaces import IMaildrop, MessageGone, Torn
from lanmail.mailbox.maildrop import MaildropInUse
from lanmail.maillog import mail_events
from lanmail.pop3.server import KEEPALIVE
from lanmail.status import Status, TemporaryFailure
from lanmail.twisted_mail import pop3
from tests import dialogue
from tests.pop3.fakes import Accounts, Client, RememberingMaildrop, SlowTransport, admission, letter, make_factory

FULL = TemporaryFailure(Status(452, "4.3.1", "Not enough space for mail; try again later"))


def dossier_letter() -> bytes:
    """The letter of the dossier, as it stands in its dialogue."""
    text = (dialogue.FOLDER / "pop3-dossier.txt").read_text("utf-8")
    wire = text.partition("S: +OK 930 octets\n")[2].partition("S: .\n")[0]
    lines = [line[3:] for line in wire.splitlines()]
    return "".join(line.removeprefix(".") + "\r\n" for line in lines).encode()


class MailLog:
    """Every line that the mail log gets while a test runs."""

    def __init__(self, case: SynchronousTestCase) -> None:
        self.lines: list[str] = []
        mail_events.addObserver(self._note)
        case.addCleanup(mail_events.removeObserver, self._note)

    def _note(self, event: dict[str, Any]) -> None:
        self.lines.append(formatEvent(event) + repr(event))

    def has(self, start: str) -> bool:
        return any(line.startswith(start) for line in self.lines)


class InMemory(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.log = MailLog(self)

    def serve(self, *texts: bytes, **options: Any) -> Client:
        """A logged in client of a new server with these letters."""
        client = self.connect(*texts, **options)
        assert client.log_in().endswith(b" messages\r\n")
        return client

    def connect(self, *texts: bytes, slow: bool = False, transport: Any = None, **options: Any) -> Client:
        self.maildrop = RememberingMaildrop(*texts)
        self.accounts = Accounts(self.maildrop, slow=slow)
        self.factory = make_factory(self.accounts, self.clock, **options)
        client = Client(self.factory, self.clock, transport)
        if transport is None:
            client.hear()
        return client


class DialogueTests(InMemory):
    def test_the_dossiers_capture(self) -> None:
        text = dossier_letter()
        factory = make_factory(Accounts(RememberingMaildrop(text)), self.clock)
        factory.banner = "POP3 [192.168.1.1] v2001.78rh server ready"
        for spoken in dialogue.read("pop3-dossier"):
            spoken.play_in_memory(factory, self.clock, "192.168.1.3")
        self.assertTrue(self.log.has("login: user=<nel>, method=LOGIN, rip=192.168.1.3"))
        self.assertTrue(self.log.has("logout: user=<nel> retrieved 1, deleted 1, left 0"))

    def test_the_rules(self) -> None:
        factory = make_factory(Accounts(RememberingMaildrop(letter(200), letter(300))), self.clock)
        for spoken in dialogue.read("pop3-rules"):
            spoken.play_in_memory(factory, self.clock)


class StockBugTests(InMemory):
    """What Twisted's own POP3 does wrong, each by its name; ours must not."""

    def test_a_user_name_with_a_space_does_not_drop_the_connection(self) -> None:
        client = self.connect()
        self.assertTrue(
            client.say(b"USER jean paul", b"PASS x").endswith(b"-ERR [AUTH] Wrong user name or password\r\n")
        )
        self.assertFalse(client.gone)

    def test_the_banner_does_not_announce_apop(self) -> None:
        client = Client(make_factory(Accounts(), self.clock), self.clock)
        self.assertEqual(client.hear(), b"+OK POP3 server ready\r\n")

    def test_pipelined_commands_wait_for_a_slow_login(self) -> None:
        client = self.connect(letter(100), slow=True)
        self.assertEqual(
            client.say(b"USER nel", "PASS naël".encode(), b"STAT", b"what", b"QUIT"),
            b"+OK User name accepted, password please\r\n",
        )
        self.accounts.answer()
        self.assertEqual(
            client.hear(), b"+OK Mailbox open, 1 messages\r\n+OK 1 100\r\n-ERR Unknown command\r\n+OK Sayonara\r\n"
        )
        self.assertTrue(client.gone)

    def test_a_dot_on_the_edge_of_a_chunk_is_stuffed(self) -> None:
        text = b"Subject: x\r\n\r\n" + b"y" * 48 + b"\r\n" + b".\r\n+OK forged\r\n"
        self.assertEqual(text.index(b"\r\n.\r\n") + 2, 64)
        client = self.serve(text)
        self.assertEqual(
            client.say(b"RETR 1"), b"+OK %d octets\r\n" % len(text) + text.replace(b"\r\n.", b"\r\n..") + b".\r\n"
        )

    def test_a_letter_that_begins_with_a_dot_is_stuffed(self) -> None:
        self.assertIn(b"\r\n..odd: 1\r\n", self.serve(b".odd: 1\r\n\r\n").say(b"RETR 1"))

    def test_trouble_with_the_storage_is_answered_and_the_session_goes_on(self) -> None:
        client = self.serve(letter(100))
        for command in (b"RETR 1", b"TOP 1 0", b"UIDL", b"UIDL 1"):
            self.maildrop.trouble = FULL
            self.assertEqual(client.say(command), b"-ERR [SYS/TEMP] Not enough space for mail; try again later\r\n")
            self.maildrop.trouble = OSError("a surprise")
            said = client.say(command)
            self.assertTrue(said.startswith(b"-ERR [SYS/TEMP] Something is wrong on our side"), said)
            self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertEqual(client.say(b"STAT"), b"+OK 1 100\r\n")
        self.clock.advance(601)
        self.assertTrue(client.gone, "the idle timer runs again")

    def test_quit_waits_until_the_letters_are_gone(self) -> None:
        client = self.serve(letter(100))
        self.maildrop.commit_waits = Deferred()
        self.assertEqual(client.say(b"DELE 1", b"QUIT"), b"+OK Message deleted\r\n")
        self.maildrop.commit_waits.callback(None)
        self.assertEqual(client.hear(), b"+OK Sayonara\r\n")

    def test_a_failed_expunge_is_an_error_and_ends_the_session(self) -> None:
        client = self.serve(letter(100))
        client.say(b"DELE 1")
        self.maildrop.trouble = FULL
        self.assertEqual(client.say(b"QUIT"), b"-ERR [SYS/TEMP] Not enough space for mail; try again later\r\n")
        self.assertTrue(client.gone)
        self.assertEqual(self.maildrop.closed, 1)
        self.assertTrue(self.log.has("logout: user=<nel> retrieved 0, deleted 0, left 1 (nothing was deleted)"))

    def test_a_second_login_in_a_session_is_refused_so_no_lock_is_left(self) -> None:
        client = self.serve(letter(100))
        client.log_in()
        client.transport.drop()
        self.assertEqual((len(self.accounts.logins), self.maildrop.closed), (1, 1))

    def test_a_client_that_leaves_during_its_login_leaves_no_lock(self) -> None:
        client = self.connect(letter(100), slow=True)
        client.log_in()
        client.transport.drop()
        self.assertEqual(self.maildrop.closed, 0)
        self.accounts.answer()
        self.clock.advance(0)
        self.assertEqual(self.maildrop.closed, 1)

    def test_an_empty_maildrop_is_one_too(self) -> None:
        client = self.serve()
        self.assertEqual(
            client.say(b"STAT", b"LIST", b"UIDL", b"QUIT"),
            b"+OK 0 0\r\n+OK Mailbox scan listing follows\r\n.\r\n+OK Unique-ID listing follows\r\n.\r\n+OK Sayonara\r\n",
        )

    def test_no_time_runs_against_a_client_that_waits_for_us(self) -> None:
        client = self.connect(slow=True)
        client.log_in()
        self.clock.pump([50] * 100)
        self.assertFalse(client.gone)
        self.accounts.answer()
        self.assertTrue(client.hear().startswith(b"+OK Mailbox open"))

    def test_why_a_login_is_denied_is_told_in_words_and_codes(self) -> None:
        for trouble, said in (
            (MaildropInUse(), b"-ERR [IN-USE] Mailbox is open in another session; try again later\r\n"),
            (FULL, b"-ERR [SYS/TEMP] Not enough space for mail; try again later\r\n"),
        ):
            client = self.connect(slow=True)
            client.log_in()
            self.accounts.answer(trouble=trouble)
            self.assertEqual(client.hear(), said)

    def test_uidl_of_one_letter_tells_its_number(self) -> None:
        self.assertEqual(self.serve(letter(100)).say(b"UIDL 1"), b"+OK 1 uid-1\r\n")

    def test_no_twisted_names_are_shown_when_something_unexpected_breaks(self) -> None:
        client = self.connect(slow=True)
        client.log_in()
        self.accounts.answer(trouble=RuntimeError("secret inside"))
        said = client.hear()
        self.assertEqual(said, b"-ERR [SYS/TEMP] Something is wrong on our side; please try again later\r\n")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertTrue(client.say(b"CAPA").startswith(b"+OK"))


class LetterTests(InMemory):
    def test_stat_list_and_retr_agree_about_the_octets(self) -> None:
        texts = [letter(n, f"{n}") for n in (80, 200, 5000)]
        client = self.serve(*texts)
        total = int(client.say(b"STAT").split()[2])
        sizes = [int(line.split()[1]) for line in client.say(b"LIST").splitlines()[1:-1]]
        bodies = []
        for number in range(1, 4):
            said = client.say(b"RETR %d" % number)
            head, _, rest = said.partition(b"\r\n")
            body = re.sub(rb"(?m)^\.", b"", rest.removesuffix(b".\r\n"))
            self.assertEqual(head, b"+OK %d octets" % len(body))
            bodies.append(body)
        self.assertEqual(bodies, texts)
        self.assertEqual((sizes, total), ([len(text) for text in texts], sum(map(len, texts))))

    def test_heading_text_and_terminator_are_one_write(self) -> None:
        transport = SlowTransport(self.clock)
        client = self.connect(letter(4096), transport=transport)
        client.log_in()
        transport.writes = 0
        client.say(b"RETR 1")
        self.assertEqual(transport.writes, 1)

    def test_a_letter_that_is_gone_is_an_error_for_that_letter(self) -> None:
        client = self.serve(letter(100), letter(200))
        self.maildrop.trouble = MessageGone()
        self.assertEqual(client.say(b"RETR 1"), b"-ERR Another program has changed or removed this message\r\n")
        self.assertTrue(client.say(b"RETR 2").startswith(b"+OK 200 octets"))

    def test_a_letter_torn_on_its_way_has_no_terminator(self) -> None:
        for trouble in (Torn(), OSError("a surprise")):
            client = self.serve(letter(200_000))
            self.maildrop.tear_after = (100_000, trouble)
            said = client.say(b"RETR 1", b"QUIT")
            self.assertGreater(len(said), 60_000)
            self.assertNotIn(b"\r\n.\r\n", said)
            self.assertNotIn(b"-ERR", said)
            self.assertTrue(client.transport.aborted)
            self.assertTrue(client.gone)
            self.assertEqual((self.maildrop.closed, self.maildrop.committed), (1, []))
        self.assertTrue(self.log.has("letter 1 of nel broke off"))

    def test_a_letter_torn_before_anything_was_sent_is_an_error(self) -> None:
        client = self.serve(letter(20_000))
        self.maildrop.tear_after = (10_000, Torn())
        self.assertEqual(client.say(b"RETR 1"), b"-ERR Another program has changed or removed this message\r\n")

    def test_whole_letters_count_as_retrieved_whatever_the_client_called_it(self) -> None:
        client = self.serve(letter(100), letter(100))
        client.say(b"RETR 1", b"TOP 1 0", b"TOP 2 0", b"TOP 2 99999999", b"QUIT")
        self.assertTrue(self.log.has("logout: user=<nel> retrieved 2, deleted 0, left 2"))


class StoryTests(InMemory):
    def test_a_whole_letter_is_told_as_fetched_with_where_the_client_is(self) -> None:
        client = self.serve(letter(100), letter(100), letter(100))
        client.say(b"RETR 2", b"TOP 1 0", b"UIDL", b"LIST", b"TOP 3 99999999")
        self.assertEqual(self.maildrop.told, [(2, "192.168.1.3"), (3, "192.168.1.3")])

    def test_a_client_that_fetches_one_letter_over_and_over_is_told_of_once(self) -> None:
        client = self.serve(letter(100), letter(100))
        client.say(*[b"RETR 1", b"RETR 2"] * 5)
        self.assertEqual(self.maildrop.told, [(1, "192.168.1.3"), (2, "192.168.1.3")])

    def test_a_letter_that_broke_off_or_was_refused_is_not_told(self) -> None:
        client = self.serve(letter(100))
        self.maildrop.trouble = MessageGone()
        client.say(b"RETR 1")
        self.assertEqual(self.maildrop.told, [])
        client = self.serve(letter(100_000))
        self.maildrop.tear_after = (90_000, Torn())
        client.say(b"RETR 1")
        self.assertEqual(self.maildrop.told, [])

    def test_the_maildrop_learns_who_wanted_the_letters_gone(self) -> None:
        self.serve(letter(100)).say(b"DELE 1", b"QUIT")
        self.assertEqual((self.maildrop.committed, self.maildrop.committed_from), ([frozenset([1])], "192.168.1.3"))


class BackPressureTests(InMemory):
    def slow_client(self, maildrop: RememberingMaildrop) -> SlowTransport:
        self.maildrop = maildrop
        self.factory = make_factory(Accounts(maildrop), self.clock)
        transport = SlowTransport(self.clock)
        client = Client(self.factory, self.clock, transport)
        client.log_in()
        self.clock.pump([0] * 100)
        transport.read()
        return transport

    def test_listings_of_a_hundred_thousand_letters_are_never_whole_in_memory(self) -> None:
        count = 100_000
        maildrop = RememberingMaildrop(uids=[f"{n:032x}" for n in range(count)])
        maildrop.letters = [type("L", (), {"octets": 4096})] * count
        transport = self.slow_client(maildrop)
        for command, expected in (
            (b"LIST\r\n", b"".join(b"%d 4096\r\n" % n for n in range(1, count + 1))),
            (b"UIDL\r\n", b"".join(b"%d %032x\r\n" % (n + 1, n) for n in range(count))),
        ):
            transport.most = 0
            transport.say(command)
            heard = b""
            rounds = 0
            while not heard.endswith(b"\r\n.\r\n"):
                self.clock.advance(0)
                heard += transport.read()
                rounds += 1
                self.assertLess(rounds, 1000)
            self.assertEqual(heard.partition(b"\r\n")[2], expected + b".\r\n")
            self.assertLess(transport.most, 128 * 1024)

    def test_others_have_their_turn_while_a_long_listing_goes_out(self) -> None:
        maildrop = RememberingMaildrop()
        maildrop.letters = [type("L", (), {"octets": 4096})] * 100_000
        transport = self.slow_client(maildrop)
        transport.HIGH_WATER = 1 << 30  # a client that takes everything at once
        transport.say(b"LIST\r\n")
        turns: list[int] = []
        for _ in range(3):
            self.clock.callLater(0, lambda: turns.append(len(transport.value())))
        self.clock.advance(0)
        self.assertLess(max(turns), 128 * 1024)
        self.assertGreater(len(transport.value()), 1_000_000)

    def test_a_client_that_reads_slowly_costs_no_more_than_its_buffer(self) -> None:
        maildrop = RememberingMaildrop(letter(3_000_000), chunk=64 * 1024)
        transport = self.slow_client(maildrop)
        transport.most = 0
        transport.say(b"RETR 1\r\n")
        heard = b""
        while not heard.endswith(b"\r\n.\r\n"):
            self.clock.advance(100)
            self.assertFalse(transport.gone)
            heard += transport.read()
        self.assertLess(transport.most, 256 * 1024)
        self.assertGreater(len(heard), 3_000_000)

    def unread_end(self) -> tuple[RememberingMaildrop, SlowTransport]:
        """A letter of two windows, of which the client has read the first; the second, and its end, is in the transport."""
        maildrop = RememberingMaildrop(letter(131_000), chunk=64 * 1024)
        transport = self.slow_client(maildrop)
        transport.say(b"RETR 1\r\n")
        transport.read()
        self.assertTrue(transport.value().endswith(b"\r\n.\r\n"))
        self.assertGreater(len(transport.value()), transport.HIGH_WATER)
        return maildrop, transport

    def test_a_letter_is_told_as_fetched_once_the_client_takes_its_end(self) -> None:
        maildrop, transport = self.unread_end()
        self.assertEqual(maildrop.told, [])
        transport.read()
        self.assertEqual(maildrop.told, [(1, "127.0.0.1")])

    def test_and_never_where_the_client_left_before(self) -> None:
        maildrop, transport = self.unread_end()
        transport.drop()
        self.assertEqual(maildrop.told, [])

    def test_a_client_that_stops_reading_is_cut_off_in_the_end(self) -> None:
        maildrop = RememberingMaildrop(letter(3_000_000), chunk=64 * 1024)
        transport = self.slow_client(maildrop)
        transport.say(b"RETR 1\r\nQUIT\r\n")
        self.clock.advance(599)
        self.assertFalse(transport.gone)
        self.clock.advance(2)
        self.clock.advance(0)
        self.assertTrue(transport.aborted and transport.gone)
        self.assertFalse(transport.value().endswith(b"\r\n.\r\n"))
        self.assertEqual(maildrop.closed, 1)

    def test_a_megabyte_of_noise_costs_little_and_ends_soon(self) -> None:
        for noise in (b"\xff\x00\r\n" * 250_000, b"A" * 1_000_000, b"\n" * 1_000_000):
            client = self.connect(letter(100))
            for start in range(0, len(noise), 65536):
                client.transport.say(noise[start : start + 65536])
                self.clock.advance(0)
            said = client.hear()
            self.assertLess(len(said), 4096)
            self.assertNotIn(b"Traceback", said)
            client.transport.drop()
        self.assertEqual(self.flushLoggedErrors(), [])


class TakeoverTests(InMemory):
    def setUp(self) -> None:
        super().setUp()
        self.first, self.second = RememberingMaildrop(letter(100)), RememberingMaildrop(letter(100))
        self.accounts = Accounts(self.first, self.second)
        self.factory = make_factory(self.accounts, self.clock)
        self.old = Client(self.factory, self.clock)
        self.old.log_in()
        self.old.say(b"DELE 1")
        self.accounts.slow = True

    def arrive(self, peer: str = "192.168.1.3", name: bytes = b"Nel@iscb-corporation.com") -> Client:
        client = Client(self.factory, self.clock, peer=peer)
        client.say(b"USER " + name, "PASS naël".encode())
        self.factory.wanted(self.first.user)
        self.clock.advance(0)
        return client

    def test_a_login_from_the_same_address_ends_a_session_that_has_been_silent(self) -> None:
        self.clock.advance(30)
        new = self.arrive()
        self.assertTrue(self.old.transport.aborted and self.old.gone)
        self.assertEqual((self.first.closed, self.first.committed), (1, []))
        self.assertTrue(self.log.has("logout: user=<nel> retrieved 0, deleted 0, left 1 (taken over"))
        self.accounts.answer()
        self.assertIn(b"+OK Mailbox open", new.hear())

    def test_a_session_that_was_heard_of_lately_stays(self) -> None:
        self.clock.advance(29)
        self.old.say(b"NOOP")
        self.clock.advance(29)
        self.arrive()
        self.assertFalse(self.old.gone)

    def test_a_login_from_another_address_ends_nothing(self) -> None:
        self.clock.advance(300)
        self.arrive(peer="192.168.1.4")
        self.assertFalse(self.old.gone)

    def test_somebody_elses_login_from_the_same_address_ends_nothing(self) -> None:
        self.clock.advance(300)
        self.arrive(name=b"julien")
        self.assertFalse(self.old.gone)

    def test_a_session_that_waits_for_us_is_not_silent(self) -> None:
        self.first.commit_waits = Deferred()
        self.old.say(b"QUIT")
        self.clock.advance(300)
        self.arrive()
        self.assertFalse(self.old.gone)
        self.first.commit_waits.callback(None)
        self.assertEqual(self.first.committed, [frozenset({1})])

    def test_one_that_vanished_in_the_middle_of_a_letter_is_silent(self) -> None:
        self.first.texts = (letter(1_000_000),)
        transport = SlowTransport(self.clock, "192.168.1.3")
        self.old.transport.drop()
        self.accounts.slow = False
        self.accounts.maildrops = [self.first]
        self.old = Client(self.factory, self.clock, transport)
        self.old.log_in()
        self.old.transport.say(b"RETR 1\r\n")
        self.clock.advance(30)
        self.accounts.slow = True
        self.arrive()
        self.assertTrue(transport.aborted and transport.gone)


class LimitTests(InMemory):
    def test_one_connection_too_many_is_told_so_and_costs_nothing_after(self) -> None:
        factory = make_factory(Accounts(RememberingMaildrop()), self.clock, admission=admission(2))
        clients = [Client(factory, self.clock) for _ in range(2)]
        refused = Client(factory, self.clock)
        self.assertEqual(refused.hear(), b"-ERR [SYS/TEMP] too many connections\r\n")
        self.assertTrue(refused.gone)
        clients[0].transport.drop()
        self.assertTrue(Client(factory, self.clock).hear().startswith(b"+OK"))

    def test_a_client_that_makes_only_errors_is_sent_away(self) -> None:
        client = self.connect(error_limit=3)
        said = client.say(b"1", b"2", b"3", b"4")
        self.assertEqual(said.count(b"\r\n"), 3)
        self.assertTrue(client.gone)
        self.assertTrue(self.log.has("disconnected before a login: rip=192.168.1.3 (too many errors)"))


class StopTests(InMemory):
    def test_an_idle_client_is_told_and_a_busy_one_finishes_its_command(self) -> None:
        busy = self.serve(letter(100))
        idle = Client(self.factory, self.clock)
        idle.hear()
        self.maildrop.commit_waits = Deferred()
        busy.say(b"DELE 1", b"QUIT")
        stopped = self.factory.stop()
        self.assertEqual(idle.hear(), b"-ERR [SYS/TEMP] The service stops; please come back later\r\n")
        self.assertTrue(idle.gone)
        self.assertNoResult(stopped)
        self.maildrop.commit_waits.callback(None)
        self.assertEqual(busy.hear(), b"+OK Sayonara\r\n")
        self.clock.advance(0)
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_is_never_finished_is_cut_after_the_time_limit(self) -> None:
        client = self.connect(slow=True)
        client.log_in()
        stopped = self.factory.stop(time_limit=5)
        self.clock.advance(5)
        self.clock.advance(0)
        self.successResultOf(stopped)
        self.assertTrue(client.gone)
        self.accounts.answer()
        self.assertEqual(len(self.accounts.logins), self.maildrop.closed)

    def test_a_client_that_comes_during_a_stop_hears_only_that(self) -> None:
        self.connect()
        self.factory.stop()
        late = Client(self.factory, self.clock)
        self.assertEqual(late.hear(), b"-ERR [SYS/TEMP] The service stops; please come back later\r\n")
        self.assertTrue(late.gone)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_with_nobody_there_it_is_over_at_once(self) -> None:
        self.successResultOf(make_factory(Accounts(), self.clock).stop())


class LogTests(InMemory):
    def test_no_password_enters_the_log_whatever_happens_to_the_login(self) -> None:
        for trouble in (None, MaildropInUse(), RuntimeError("surprise")):
            for password in ("naël", "geheim-wrong"):
                client = self.connect(letter(100), slow=True)
                client.say(b"USER nel", b"PASS " + password.encode())
                credentials = self.accounts.asked[-1][0]
                self.assertNotIn(password, repr(credentials) + str(credentials))
                self.accounts.answer(trouble=trouble)
                client.transport.drop()
        self.flushLoggedErrors(RuntimeError)
        self.assertTrue(self.log.lines)
        for line in self.log.lines:
            self.assertNotIn("geheim", line)
            self.assertNotIn("naël", line)
            self.assertNotIn("na\\xc3", line)

    def test_of_a_refused_login_the_log_hears_from_whoever_refused_it_and_not_again(self) -> None:
        self.connect().say(b"USER nel", b"PASS x")
        self.assertEqual([line for line in self.log.lines if "login" in line], [])

    def test_a_login_that_is_put_off_is_one_line_with_the_name_made_printable(self) -> None:
        client = self.connect(slow=True)
        client.say(b"USER \x1b[2Jnel\rlogin: user=<root>", b"PASS x")
        self.accounts.answer(trouble=FULL)
        lines = [line for line in self.log.lines if line.startswith("login failed")]
        self.assertEqual(len(lines), 1)
        self.assertTrue(
            lines[0].startswith("login failed: user=<\\x1b[2Jnel login: user=<root>>, method=USER, rip=192.168.1.3"),
            lines,
        )


class InterfaceTests(InMemory):
    def test_the_factory_answers_what_twisteds_protocol_would_ask(self) -> None:
        factory = make_factory(Accounts(), self.clock)
        verifyObject(IServerFactoryPOP3, factory)
        verifyObject(IMaildrop, _Whole())
        client = Client(factory, self.clock)
        self.assertIsInstance(client.protocol, pop3.POP3)
        self.assertEqual(sum(value for option, value in KEEPALIVE[:1]) + KEEPALIVE[1][1] * KEEPALIVE[2][1], 90)

    def test_a_realm_with_nothing_but_twisteds_imailbox_is_served(self) -> None:
        mailbox = StockMailbox()
        accounts = Accounts(RememberingMaildrop())
        accounts._judged = lambda credentials: _given((IMailboxPOP3, mailbox, mailbox.logout))  # type: ignore[method-assign]
        client = Client(make_factory(accounts, self.clock), self.clock)
        client.hear()
        client.log_in()
        self.assertEqual(
            client.say(b"STAT", b"UIDL 2", b"TOP 1 1", b"DELE 1", b"QUIT"),
            b"+OK 2 40\r\n+OK 2 two\r\n+OK Top of message follows\r\nA: 1\r\n\r\n..x\r\n.\r\n+OK Message deleted\r\n+OK Sayonara\r\n",
        )
        self.assertEqual(mailbox.done, ["delete 0", "sync", "logout"])


class _Whole(RememberingMaildrop):
    listMessages = getMessage = getUidl = deleteMessage = lambda self, i=None: None
    undeleteMessages = sync = lambda self: None


def _given(value: object) -> Deferred[Any]:
    given: Deferred[Any] = Deferred()
    given.callback(value)
    return given


@implementer(IMailboxPOP3)
class StockMailbox(pop3.Mailbox):
    def __init__(self) -> None:
        self.done: list[str] = []

    def listMessages(self, i: int | None = None) -> Any:
        return [20, 20] if i is None else 20

    def getUidl(self, i: int) -> bytes:
        return [b"one", b"two"][i]

    def getMessage(self, i: int) -> Any:
        import io

        return io.BytesIO(b"A: 1\n\n.x\ny\nz\n")

    def deleteMessage(self, i: int) -> None:
        self.done.append(f"delete {i}")

    def sync(self) -> None:
        self.done.append("sync")

    def logout(self) -> None:
        self.done.append("logout")


class PairingTests(SynchronousTestCase):
    """Every maildrop that was opened is closed once, in whatever order login, loss of the connection and PAM's answer come."""

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(
            st.sampled_from(["log in", "answer", "refuse", "break", "retr", "quit", "commit", "lose", "stop", "wait"]),
            max_size=14,
        )
    )
    def test_no_lock_outlives_its_connection(self, steps: list[str]) -> None:
        clock = Clock()
        maildrop = RememberingMaildrop(letter(200_000))
        maildrop.commit_waits = Deferred()
        accounts = Accounts(maildrop, slow=True)
        door = admission(5)
        factory = make_factory(accounts, clock, admission=door)
        transport = SlowTransport(clock)
        client = Client(factory, clock, transport)

        def answer(trouble: BaseException | None = None) -> None:
            for asked, (_, answered) in enumerate(accounts.asked):
                if not answered.called:
                    accounts.answer(asked, trouble)

        def commit() -> None:
            if not maildrop.commit_waits.called:  # type: ignore[union-attr]
                maildrop.commit_waits.callback(None)  # type: ignore[union-attr]

        for step in steps:
            match step:
                case "log in":
                    transport.say("USER nel\r\nPASS naël\r\n".encode())
                case "answer":
                    answer()
                case "refuse":
                    answer(MaildropInUse())
                case "break":
                    answer(RuntimeError())
                case "retr":
                    transport.say(b"RETR 1\r\n")
                case "quit":
                    transport.say(b"QUIT\r\n")
                case "commit":
                    commit()
                case "lose":
                    transport.drop()
                case "stop":
                    factory.stop()
                case "wait":
                    clock.advance(31)
            clock.advance(0)
            self.assertLessEqual(maildrop.closed, len(accounts.logins))
        transport.drop()
        answer()
        commit()
        clock.advance(1000)
        self.assertEqual(maildrop.closed, len(accounts.logins))
        self.assertLessEqual(len(accounts.logins), 1)
        self.assertEqual((len(factory.connections), door._present.taken), (0, 0))
        self.assertEqual(clock.getDelayedCalls(), [])
        self.flushLoggedErrors(RuntimeError)
        del client
