"""The POP3 conversation by itself: bytes in, events out, answers in, bytes out."""

from __future__ import annotations

import base64
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.pop3.events import Authenticate, Commit, Event, ListScan, ListUids, Retrieve, TellUid
from lanmail.pop3.session import LOGIN_COMMANDS, MAX_COMMAND, Pop3Session

TEXTS = (b"Subject: 1\r\n\r\n.\r\n..dots\r\nend\r\n", b"Subject: 2\r\n\r\n" + b".line\r\n" * 50, b"")


def b64(text: bytes) -> bytes:
    return base64.b64encode(text)


class Conversed:
    """A session whose events are answered at once: password "good", the letters of TEXTS."""

    def __init__(self, **options: object) -> None:
        self.session = Pop3Session("POP3 server ready", **options)  # type: ignore[arg-type]
        self.session.greet()
        self.events: list[Event] = []
        self.heard = b""

    def say(self, data: bytes) -> bytes:
        before = len(self.heard)
        self.session.receive(data)
        while True:
            event = self.session.next_event()
            self.heard += self.session.output()
            if event is None and not self.session.congested:
                break
            if event is not None:
                self.events.append(event)
                self._answer(event)
        return self.heard[before:]

    def line(self, line: bytes) -> bytes:
        return self.say(line + b"\r\n")

    def log_in(self) -> None:
        assert self.line(b"USER nel").endswith(b"+OK User name accepted, password please\r\n")
        assert self.line(b"PASS good").startswith(b"+OK")

    def _answer(self, event: Event) -> None:
        session = self.session
        match event:
            case Authenticate(_, b"good"):
                session.logged_in([len(text) for text in TEXTS])
            case Authenticate():
                session.refuse("Wrong user name or password", "AUTH")
            case ListScan():
                session.finish(session.heading() + b"".join(session.scan_listing()))
            case ListUids():
                session.finish(session.heading() + b"".join(session.uid_listing(["a", "b", "c"])))
            case TellUid(number):
                session.unique_id("abc"[number - 1])
            case Retrieve(number):
                heading = session.heading()
                text = TEXTS[number - 1]
                session.finish(heading + b"".join(session.piece(text[n : n + 1]) for n in range(len(text))))
            case Commit():
                session.committed()


class LoginTests(SynchronousTestCase):
    def claimed(self, *lines: bytes) -> list[Event]:
        client = Conversed()
        client.say(b"".join(line + b"\r\n" for line in lines))
        return client.events

    def test_user_and_pass_carry_octets_as_they_came(self) -> None:
        self.assertEqual(
            self.claimed(b"uSeR Julien@iscb-corporation.com ", "PASS  dia naël ".encode()),
            [Authenticate(b"Julien@iscb-corporation.com", " dia naël ".encode())],
        )

    def test_auth_plain_and_login_with_and_without_initial_response(self) -> None:
        plain = b64(b"\0nel\0good")
        for lines, method in (
            ((b"AUTH PLAIN " + plain,), "PLAIN"),
            ((b"auth plain", plain), "PLAIN"),
            ((b"AUTH LOGIN " + b64(b"nel"), b64(b"good")), "LOGIN"),
            ((b"AUTH login", b64(b"nel"), b64(b"good")), "LOGIN"),
        ):
            self.assertEqual(self.claimed(*lines), [Authenticate(b"nel", b"good", method)])

    def test_auth_login_prompts_as_the_dossiers_mozilla_expects(self) -> None:
        client = Conversed()
        self.assertTrue(client.line(b"AUTH LOGIN").endswith(b"+ VXNlcm5hbWU6\r\n"))
        self.assertEqual(client.line(b64(b"nel")), b"+ UGFzc3dvcmQ6\r\n")
        self.assertEqual(client.line(b64(b"good")), b"+OK Mailbox open, 3 messages\r\n")

    def test_bare_auth_lists_the_mechanisms(self) -> None:
        client = Conversed()
        client.say(b"")
        self.assertEqual(
            client.line(b"AUTH"), b"+OK Supported authentication mechanisms follow\r\nPLAIN\r\nLOGIN\r\n.\r\n"
        )

    def test_an_exchange_can_be_cancelled_and_the_next_line_is_a_command_again(self) -> None:
        client = Conversed()
        client.line(b"AUTH PLAIN")
        self.assertEqual(client.line(b"*"), b"-ERR Authentication cancelled\r\n")
        self.assertTrue(client.line(b"CAPA").startswith(b"+OK"))

    def test_a_password_sent_as_a_response_is_never_taken_for_a_command(self) -> None:
        client = Conversed()
        client.line(b"AUTH LOGIN")
        client.line(b64(b"nel"))
        self.assertEqual(client.line(b"QUIT!"), b"-ERR That makes no sense: the response is not base64\r\n")
        self.assertFalse(client.session.closing)

    def test_a_response_may_be_longer_than_a_command_and_not_without_end(self) -> None:
        long = b"x" * 8000
        self.assertEqual(self.claimed(b"AUTH PLAIN " + b64(b"\0nel\0" + long)), [Authenticate(b"nel", long, "PLAIN")])
        self.assertEqual(self.claimed(b"AUTH PLAIN", b64(b"\0nel\0" + long)), [Authenticate(b"nel", long, "PLAIN")])
        client = Conversed()
        client.line(b"AUTH PLAIN")
        self.assertEqual(client.line(b"A" * 20000), b"-ERR The line is too long\r\n")

    def test_the_password_is_in_no_repr(self) -> None:
        self.assertNotIn("good", repr(Authenticate(b"nel", b"good")))

    def test_a_nul_is_refused_for_pam_would_stop_reading_there(self) -> None:
        client = Conversed()
        client.line(b"USER nel")
        self.assertEqual(client.line(b"PASS good\0more"), b"-ERR That is no password\r\n")
        self.assertEqual(client.line(b"USER n\0el"), b"-ERR A user name holds no NUL\r\n")

    def test_a_refused_login_says_why_in_a_code_and_the_next_try_begins_with_user(self) -> None:
        client = Conversed()
        client.line(b"USER nel")
        self.assertEqual(client.line(b"PASS bad"), b"-ERR [AUTH] Wrong user name or password\r\n")
        self.assertEqual(client.line(b"PASS good"), b"-ERR Say USER first\r\n")
        client.log_in()

    def test_nobody_logs_in_twice_in_one_session(self) -> None:
        client = Conversed()
        client.log_in()
        for line in (b"USER julien", b"PASS good", b"AUTH", b"AUTH PLAIN " + b64(b"\0nel\0good")):
            self.assertEqual(client.line(line), b"-ERR Already logged in\r\n")
        self.assertEqual(len(client.events), 1)

    def test_capa_is_the_same_before_and_after_the_login(self) -> None:
        client = Conversed()
        client.say(b"")
        before = client.line(b"CAPA")
        self.assertEqual(
            before.decode().split("\r\n"),
            [
                "+OK Capability list follows",
                "TOP",
                "UIDL",
                "USER",
                "SASL PLAIN LOGIN",
                "RESP-CODES",
                "AUTH-RESP-CODE",
                "PIPELINING",
                "EXPIRE NEVER",
                "IMPLEMENTATION lanmail",
                ".",
                "",
            ],
        )
        client.log_in()
        self.assertEqual(client.line(b"CAPA"), before)


class TransactionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.client = Conversed()
        self.client.log_in()

    def test_deleted_letters_are_neither_counted_nor_listed(self) -> None:
        line = self.client.line
        self.assertEqual(line(b"STAT"), b"+OK 3 394\r\n")
        self.assertEqual(line(b"DELE 2"), b"+OK Message deleted\r\n")
        self.assertEqual(line(b"STAT"), b"+OK 2 30\r\n")
        self.assertEqual(line(b"LIST"), b"+OK Mailbox scan listing follows\r\n1 30\r\n3 0\r\n.\r\n")
        self.assertEqual(line(b"UIDL"), b"+OK Unique-ID listing follows\r\n1 a\r\n3 c\r\n.\r\n")
        for command in (b"LIST 2", b"UIDL 2", b"RETR 2", b"TOP 2 0", b"DELE 2"):
            self.assertEqual(line(command), b"-ERR That message is deleted\r\n")
        self.assertEqual(line(b"RSET"), b"+OK Reset state\r\n")
        self.assertEqual(line(b"STAT"), b"+OK 3 394\r\n")
        self.assertEqual(line(b"LIST 2"), b"+OK 2 364\r\n")
        self.assertEqual(line(b"UIDL 2"), b"+OK 2 b\r\n")

    def test_numbers_are_decimal_digits_and_nothing_else(self) -> None:
        for number in (b"+1", b"1_0", b"-1", b"x", b"1.0", "١".encode(), b"0x1", b"\xff"):
            for verb in (b"LIST", b"UIDL", b"RETR", b"DELE"):
                self.client = Conversed()
                self.client.log_in()
                self.assertEqual(
                    self.client.line(verb + b" " + number), b"-ERR That is not the number of a message\r\n"
                )
        self.assertEqual(self.client.line(b"TOP 1 +1")[:4], b"-ERR")
        for number in (b"0", b"4", b"9" * 400):
            self.assertEqual(self.client.line(b"RETR " + number), b"-ERR No such message\r\n")

    def test_every_wrong_number_of_arguments_is_answered(self) -> None:
        for line in (
            b"RETR",
            b"RETR 1 2",
            b"DELE",
            b"TOP 1",
            b"TOP 1 2 3",
            b"LIST 1 2",
            b"STAT x",
            b"NOOP x",
            b"LAST 1",
            b"RSET 1",
        ):
            self.assertEqual(self.client.line(line)[:5], b"-ERR ", line)
        self.assertEqual(self.client.line(b" ")[:4], b"-ERR")
        self.assertFalse(self.client.session.closing)

    def test_a_letter_is_stuffed_wherever_it_was_cut(self) -> None:
        self.assertEqual(
            self.client.line(b"RETR 1"), b"+OK 30 octets\r\nSubject: 1\r\n\r\n..\r\n...dots\r\nend\r\n.\r\n"
        )
        self.assertEqual(self.client.line(b"RETR 3"), b"+OK 0 octets\r\n.\r\n")

    def test_a_letter_whose_last_line_has_no_end_gets_one_before_the_terminator(self) -> None:
        session = self.client.session
        session.receive(b"RETR 1\r\n")
        session.next_event()
        session.finish(session.heading() + session.piece(b"no end"))
        self.assertTrue(session.output().endswith(b"\r\nno end\r\n.\r\n"))

    def test_top_asks_for_so_many_lines_and_never_for_absurdly_many(self) -> None:
        self.client.line(b"TOP 1 0")
        self.client.line(b"TOP 1 " + b"9" * 30)
        self.assertEqual(self.client.events[-2:], [Retrieve(1, 0), Retrieve(1, 2**31)])

    def test_last_is_the_highest_letter_seen_until_rset(self) -> None:
        line = self.client.line
        self.assertEqual(line(b"LAST"), b"+OK 0\r\n")
        line(b"RETR 2")
        line(b"RETR 1")
        self.assertEqual(line(b"LAST"), b"+OK 2\r\n")
        line(b"RSET")
        self.assertEqual(line(b"LAST"), b"+OK 0\r\n")

    def test_quit_commits_what_is_marked(self) -> None:
        self.client.line(b"DELE 1")
        self.client.line(b"DELE 3")
        self.assertEqual(self.client.line(b"QUIT"), b"+OK Sayonara\r\n")
        self.assertEqual(self.client.events[-1], Commit(frozenset({1, 3})))
        self.assertTrue(self.client.session.closing)

    def test_a_refused_quit_says_so_and_ends(self) -> None:
        session = self.client.session
        session.receive(b"QUIT\r\n")
        session.next_event()
        session.refuse("Not enough space", "SYS/TEMP")
        self.assertEqual(session.output(), b"-ERR [SYS/TEMP] Not enough space\r\n")
        self.assertTrue(session.closing)

    def test_what_is_pipelined_waits_for_the_answer_before_it(self) -> None:
        session = self.client.session
        session.receive(b"RETR 1\r\nSTAT\r\nQUIT\r\n")
        self.assertEqual(session.next_event(), Retrieve(1))
        self.assertIsNone(session.next_event())
        self.assertEqual(session.output(), b"")
        session.refuse("gone")
        self.assertEqual(session.next_event(), Commit(frozenset()))
        self.assertEqual(session.output(), b"-ERR gone\r\n+OK 3 394\r\n")


class LimitTests(SynchronousTestCase):
    def test_a_line_that_is_too_long_is_answered_once_and_the_next_is_a_command(self) -> None:
        client = Conversed()
        client.say(b"")
        self.assertEqual(client.line(b"USER " + b"x" * MAX_COMMAND), b"-ERR The line is too long\r\n")
        self.assertEqual(client.line(b"x" * 100_000), b"-ERR The line is too long\r\n")
        client.log_in()
        self.assertEqual(client.line(b"NOOP" + b" " * MAX_COMMAND), b"-ERR The line is too long\r\n")
        self.assertEqual(client.line(b"NOOP"), b"+OK No-op to you too!\r\n")

    def test_too_many_errors_end_it(self) -> None:
        client = Conversed(error_limit=3)
        client.say(b"")
        self.assertEqual(client.line(b"GET / HTTP/1.1"), b"-ERR Unknown command\r\n")
        self.assertEqual(client.line(b"STAT"), b"-ERR Log in first\r\n")
        self.assertEqual(client.line(b"\xff\xfe"), b"-ERR Unknown command; that was one error too many\r\n")
        self.assertTrue(client.session.closing)
        self.assertEqual(client.session.ending, "too many errors")
        self.assertEqual(client.line(b"NOOP"), b"")

    def test_wrong_passwords_are_errors_and_a_login_forgives_them(self) -> None:
        client = Conversed(error_limit=3)
        for _ in range(2):
            client.line(b"USER nel")
            client.line(b"PASS bad")
        client.log_in()
        self.assertEqual(client.line(b"x"), b"-ERR Unknown command\r\n")
        client = Conversed(error_limit=3)
        for _ in range(3):
            client.line(b"USER nel")
            client.line(b"PASS bad")
        self.assertTrue(client.session.closing)

    def test_nobody_asks_for_capabilities_for_ever_instead_of_logging_in(self) -> None:
        client = Conversed()
        for _ in range(LOGIN_COMMANDS):
            self.assertFalse(client.session.closing)
            client.line(b"CAPA")
        client.line(b"CAPA")
        self.assertTrue(client.session.closing)

    def test_listings_come_in_pieces(self) -> None:
        session = Pop3Session("ready")
        session.receive(b"AUTH PLAIN " + b64(b"\0nel\0good") + b"\r\nLIST\r\n")
        session.next_event()
        session.logged_in([1000] * 100_000)
        session.next_event()
        pieces = list(session.scan_listing())
        self.assertTrue(all(len(piece) < 40 * 1024 for piece in pieces))
        self.assertEqual(b"".join(pieces), b"".join(b"%d 1000\r\n" % n for n in range(1, 100_001)))


commands = st.sampled_from(
    [
        b"USER nel\r\n",
        b"PASS good\r\n",
        b"PASS bad\r\n",
        b"AUTH\r\n",
        b"AUTH PLAIN\r\n",
        b"AUTH LOGIN " + b64(b"nel") + b"\r\n",
        b64(b"good") + b"\n",
        b64(b"\0nel\0good") + b"\r\n",
        b"AUTH PLAIN " + b64(b"\0nel\0" + b"p" * 900) + b"\r\n",
        b"*\r\n",
        b"CAPA\r\n",
        b"STAT\r\n",
        b"LIST\r\n",
        b"LIST 2\n",
        b"UIDL\r\n",
        b"UIDL 1\r\n",
        b"RETR 1\r\n",
        b"RETR 2\r\n",
        b"RETR 9\r\n",
        b"TOP 2 3\r\n",
        b"DELE 1\r\n",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"LAST\r\n",
        b"QUIT\r\n",
        b"USER " + b"n" * 600 + b"\r\n",
        b"x" * 13_000 + b"\r\n",
    ]
)


class PropertyTests(SynchronousTestCase):
    @settings(max_examples=200, deadline=None)
    @given(st.lists(commands | st.binary(max_size=40), max_size=25), st.lists(st.integers(0, 20_000), max_size=30))
    def test_however_the_bytes_are_cut_the_conversation_is_the_same(self, lines: list[bytes], cuts: list[int]) -> None:
        data = b"USER nel\r\nPASS good\r\n" * (len(cuts) % 2) + b"".join(lines)
        whole = Conversed(error_limit=9)
        whole.say(data)
        pieces = Conversed(error_limit=9)
        edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
        for start, end in pairwise(edges):
            pieces.say(data[start:end])
        whole.say(b"")
        pieces.say(b"")
        self.assertEqual((pieces.heard, pieces.events), (whole.heard, whole.events))

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=3000))
    def test_noise_is_answered_in_lines_and_never_raises(self, noise: bytes) -> None:
        for before in (b"", b"USER nel\r\nPASS good\r\n", b"AUTH LOGIN\r\n"):
            client = Conversed()
            client.say(before + noise + b"\r\n")
            for line in client.heard.split(b"\r\n"):
                self.assertNotIn(b"Traceback", line)
            self.assertTrue(client.heard.endswith(b"\r\n"))

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.sampled_from([b".", b"..", b"\r\n", b"a", b"\r", b"x" * 70]), max_size=60), st.integers(1, 9))
    def test_retr_unstuffed_is_what_was_stored(self, pieces: list[bytes], chunk: int) -> None:
        text = b"".join(pieces) + b"\r\n"
        session = Pop3Session("ready")
        session.receive(b"AUTH PLAIN " + b64(b"\0nel\0good") + b"\r\nRETR 1\r\n")
        session.next_event()
        session.logged_in([len(text)])
        session.next_event()
        session.output()
        head = session.heading()
        session.finish(head + b"".join(session.piece(text[n : n + chunk]) for n in range(0, len(text), chunk)))
        said = session.output().removeprefix(head)
        # As poplib and RFC 1939, 3 read it, written again here.
        lines = said.split(b"\r\n")
        self.assertEqual(lines[-2:], [b".", b""])
        self.assertNotIn(b".", lines[:-2])
        self.assertEqual(b"".join(line.removeprefix(b".") + b"\r\n" for line in lines[:-2]), text)

    @given(st.lists(st.sampled_from([b".", b"\r\n", b"a", b"\n"]), max_size=8).map(b"".join))
    def test_a_letter_that_is_whole_is_said_as_one_in_pieces(self, text: bytes) -> None:
        said = []
        for whole in (False, True):
            session = Pop3Session("ready")
            session.receive(b"AUTH PLAIN " + b64(b"\0nel\0good") + b"\r\nRETR 1\r\nLAST\r\n")
            session.next_event()
            session.logged_in([len(text)])
            session.next_event()
            if whole:
                session.letter(text)
            else:
                session.finish(session.heading() + session.piece(text))
            self.assertIsNone(session.next_event())
            said.append(session.output())
        self.assertEqual(*said)
