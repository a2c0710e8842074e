"""The rim: who is asked, in which order, what happens when the client, the avatar or the service goes away."""

from __future__ import annotations

import base64
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.testing import EventLoggingObserver, StringTransport
from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from lanmail.interfaces import ITransactions, MailParameters, RecipientParameters
from lanmail.maillog import mail_events
from lanmail.network import Peer
from lanmail.rim import GRACE
from lanmail.smtp.limits import SmtpLimits
from lanmail.status import Status, TemporaryFailure
from lanmail.twisted_mail import smtp
from tests.dialogue import MemoryTransport
from tests.smtp.fakes import HOSTNAME, Door, RememberingTransactions, said, temporary

BEGIN = b"EHLO c\r\nMAIL FROM:<julien@x>\r\nRCPT TO:<nel@x>\r\nDATA\r\n"
MESSAGE = BEGIN + b"Hello\r\n.\r\n"
AUTH = b"AUTH PLAIN " + base64.b64encode(b"\0julien\0secret") + b"\r\n"


def codes(transport: MemoryTransport) -> list[str]:
    """The codes of the replies since last time, without the lines of EHLO's."""
    return [line[:9].strip() for line in said(transport) if line[3] == " " and "SMTPUTF8" not in line]


class DeliveryTests(SynchronousTestCase):
    def test_a_message_goes_to_the_avatar_of_whoever_sent_it(self) -> None:
        door = Door()
        client = door.connect()
        client.say(MESSAGE)
        self.assertEqual(said(client)[-1], "250 2.0.0 Ok: queued as 222CF6745D")
        self.assertEqual(door.realm.logins, [None])
        self.assertEqual(door.avatar.delivered[0].text, b"Hello\n")
        self.assertEqual(door.avatar.peer, Peer("192.168.1.5", 40000, "192.168.1.1", 25))
        self.assertEqual((door.avatar.greeting.name, door.avatar.greeting.extended), ("c", True))

    def test_how_a_report_is_wanted_reaches_the_avatar(self) -> None:
        door = Door()
        client = door.connect()
        client.say(b"EHLO c\r\nMAIL FROM:<a@b> RET=HDRS\r\nRCPT TO:<nel@b> NOTIFY=SUCCESS ORCPT=rfc822;n@b\r\n")
        self.assertEqual(
            door.avatar.said,
            [
                ("begin", "a@b", MailParameters(ret="HDRS")),
                ("recipient", "nel@b", RecipientParameters("SUCCESS", "rfc822;n@b")),
            ],
        )

    def test_whoever_wants_to_hears_of_every_reply_that_says_no(self) -> None:
        door, heard = Door(), list[tuple[str, str, str]]()
        door.factory.refused = lambda client, verb, status: heard.append((client, verb, status.enhanced))
        client = door.connect()
        client.say(b"FOO\r\nEHLO c\r\nMAIL FROM:<a@b\r\nMAIL FROM:<a@b>\r\nRCPT TO:<x@y>\r\nRCPT TO:<nel>\r\nDATA\r\n")
        door.avatar.troubles["commit"] = temporary()
        client.say(b"Hello\r\n.\r\n")
        who = "unknown[192.168.1.5]"
        self.assertEqual(
            heard,
            [
                (who, "UNKNOWN", "5.5.2"),
                (who, "MAIL", "5.1.7"),
                (who, "RCPT", "5.1.1"),
                (who, "END-OF-MESSAGE", "4.3.1"),
            ],
        )

    def test_the_fake_keeps_the_contract_and_the_protocol_is_twisteds(self) -> None:
        verifyObject(ITransactions, RememberingTransactions())
        door = Door()
        self.assertIsInstance(door.factory, smtp.SMTPFactory)
        self.assertIsInstance(door.connect().protocol, smtp.ESMTP)
        self.assertEqual(door.factory.domain, HOSTNAME.encode())

    def test_a_plain_client_costs_no_login_before_its_first_mail(self) -> None:
        door = Door()
        door.connect().say(b"EHLO c\r\nNOOP\r\nQUIT\r\n")
        self.assertEqual(door.realm.logins, [])

    def test_the_avatar_stays_for_the_whole_connection(self) -> None:
        door = Door()
        client = door.connect()
        client.say(MESSAGE * 3)
        self.assertEqual(len(door.avatar.delivered), 3)
        self.assertEqual(door.realm.logins, [None])
        client.drop()
        self.assertEqual(door.realm.logouts, [None])

    def test_a_refusal_keeps_its_status(self) -> None:
        """Twisted's own server makes a permanent 550 of every failure at the end of a message."""
        for step, place in (("begin", -4), ("recipient", -3), ("data", -2), ("commit", -2)):
            door = Door()
            avatar = RememberingTransactions()
            avatar.troubles[step] = temporary()
            door.realm.make = lambda name, avatar=avatar: avatar
            client = door.connect()
            client.say(MESSAGE[: -len(b"Hello\r\n.\r\n")] if step != "commit" else MESSAGE)
            client.say(b"NOOP\r\n")
            self.assertIn("452 4.3.1", codes(client)[place:], step)
            self.assertFalse(client.disconnecting)

    def test_nothing_of_a_message_that_grew_too_large_is_kept(self) -> None:
        door = Door(SmtpLimits(message_size_limit=10))
        client = door.connect()
        client.say(BEGIN)
        client.say(b"12345\r\n")
        client.say(b"67890\r\n")
        self.assertEqual(door.avatar.incoming[0].ended, "abort")
        client.say(b"and on\r\n.\r\nNOOP\r\n")
        self.assertEqual(codes(client)[-2:], ["552 5.3.4", "250 2.0.0"])
        self.assertEqual(door.avatar.delivered, [])

    def test_rset_in_a_transaction_resets_the_avatar(self) -> None:
        door = Door()
        client = door.connect()
        client.say(BEGIN[:-6] + b"RSET\r\n")
        self.assertEqual(door.avatar.said[-1], ("reset",))

    def test_a_connection_over_a_unix_socket_is_served(self) -> None:
        """Twisted's own EHLO ends such a connection with an AttributeError."""
        door = Door()
        transport = StringTransport(hostAddress=UNIXAddress("/x"), peerAddress=UNIXAddress(""))  # type: ignore[arg-type]
        protocol = door.factory.buildProtocol(transport.getPeer())
        protocol.makeConnection(transport)
        protocol.dataReceived(MESSAGE)
        self.assertIn(b"queued as", transport.value())
        self.assertEqual(door.avatar.peer.literal, "[local]")

    def test_an_ipv4_client_of_a_dual_stack_socket_is_one(self) -> None:
        door = Door()
        transport = StringTransport(peerAddress=IPv6Address("TCP", "::ffff:192.168.1.5", 4))
        protocol = door.factory.buildProtocol(transport.getPeer())
        protocol.makeConnection(transport)
        self.assertEqual(protocol.peer.host, "192.168.1.5")


class OrderTests(SynchronousTestCase):
    def slow(self, *steps: str) -> tuple[Door, list[Deferred[None]]]:
        """A door whose avatar waits at these steps, for Deferreds that gather in the list."""
        door, answers = Door(), list[Deferred[None]]()

        def wait() -> Deferred[None]:
            answers.append(Deferred())
            return answers[-1]

        def make(name: str | None) -> RememberingTransactions:
            avatar = RememberingTransactions(name)
            avatar.waits = dict.fromkeys(steps, wait)
            return avatar

        door.realm.make = make
        return door, answers

    def test_a_recipient_pipelined_behind_a_slow_mail_waits_for_it(self) -> None:
        """Twisted's own server answers RCPT with 503 before MAIL's 250 (its issue 8126)."""
        door, answers = self.slow("begin")
        client = door.connect()
        client.say(BEGIN)
        self.assertEqual(codes(client), [])
        answers[0].callback(None)
        self.assertEqual(codes(client), ["250 2.1.0", "250 2.1.5", "354 End d"])

    def test_a_quit_pipelined_behind_a_slow_message_does_not_lose_its_250(self) -> None:
        door, answers = self.slow("commit")
        client = door.connect()
        client.say(MESSAGE + b"QUIT\r\n")
        self.assertEqual(codes(client)[-1], "354 End d")
        self.assertFalse(client.disconnecting)
        answers[0].callback(None)
        self.assertEqual(codes(client), ["250 2.0.0", "221 2.0.0"])
        self.assertTrue(client.disconnecting)

    def test_fifty_pipelined_logins_start_one(self) -> None:
        door = Door(offer_auth=True)
        door.checker.waits = True
        client = door.connect()
        client.say(b"EHLO c\r\n" + AUTH * 50)
        self.assertEqual(len(door.checker.asked), 1)

    steps = ("begin", "recipient", "write", "commit")

    @given(st.sets(st.sampled_from(steps)), st.integers(1, 3), st.data())
    @settings(max_examples=60, deadline=None)
    def test_replies_keep_the_order_of_commands_whatever_waits(
        self, slow: set[str], count: int, data: st.DataObject
    ) -> None:
        door, answers = self.slow(*slow)
        client = door.connect()
        octets = b"EHLO c\r\n" + MESSAGE[8:] * count + b"NOOP\r\nRCPT TO:<nel>\r\nQUIT\r\n"
        heard: list[str] = []
        while octets or any(not answer.called for answer in answers):
            pending = [answer for answer in answers if not answer.called]
            self.assertLessEqual(len(pending), 1)
            if pending and (not octets or data.draw(st.booleans())):
                pending[0].callback(None)
            else:
                size = data.draw(st.integers(1, 60))
                client.say(octets[:size])
                octets = octets[size:]
            heard += codes(client)
        message = ["250 2.1.0", "250 2.1.5", "354 End d", "250 2.0.0"]
        self.assertEqual(heard, [*message * count, "250 2.0.0", "503 5.5.1", "221 2.0.0"])
        self.assertEqual([i.text for i in door.avatar.delivered], [b"Hello\n"] * count)

    def test_a_reply_after_many_errors_is_held_back_without_stopping_anybody_else(self) -> None:
        door = Door(SmtpLimits(soft_error_limit=2, error_sleep_time=1))
        bad, good = door.connect(), door.connect()
        bad.say(b"FOO\r\nFOO\r\nNOOP\r\nQUIT\r\n")
        self.assertEqual(codes(bad), ["502 5.5.2"])
        good.say(b"NOOP\r\n")
        self.assertEqual(codes(good), ["250 2.0.0"])
        door.clock.advance(1)
        self.assertEqual(codes(bad), ["502 5.5.2"])
        door.clock.advance(1)
        self.assertEqual(codes(bad), ["250 2.0.0", "221 2.0.0"])


class LoginTests(SynchronousTestCase):
    def test_who_logs_in_gets_an_avatar_of_their_own_and_the_anonymous_one_is_logged_out(self) -> None:
        """Twisted's own server forgets the first of two avatars without logging it out."""
        door = Door(offer_auth=True)
        client = door.connect()
        client.say(b"EHLO c\r\nMAIL FROM:<a@b>\r\nRSET\r\n" + AUTH + MESSAGE[8:])
        self.assertEqual(codes(client)[-5:], ["235 2.7.0", "250 2.1.0", "250 2.1.5", "354 End d", "250 2.0.0"])
        self.assertEqual((door.realm.logins, door.realm.logouts), ([None, "julien"], [None]))
        client.drop()
        self.assertEqual(door.realm.logouts, [None, "julien"])

    def test_the_peer_goes_with_the_credentials(self) -> None:
        door = Door(offer_auth=True)
        door.connect().say(b"EHLO c\r\n" + AUTH)
        (credentials,) = door.checker.asked
        self.assertEqual((credentials.username, credentials.password), (b"julien", b"secret"))
        self.assertEqual((credentials.login.protocol, credentials.login.peer.host), ("smtp", "192.168.1.5"))

    def test_a_wrong_password_is_535_and_trouble_is_454(self) -> None:
        door = Door(offer_auth=True)
        client = door.connect()
        wrong = b"AUTH PLAIN " + base64.b64encode(b"\0julien\0guess") + b"\r\n"
        client.say(b"EHLO c\r\n" + wrong)
        self.assertEqual(codes(client), ["535 5.7.8"])
        door.checker.trouble = TemporaryFailure(Status(451, "4.3.0", "The password cannot be checked now"))
        client.say(AUTH)
        self.assertEqual(said(client), ["454 4.7.0 The password cannot be checked now"])
        door.checker.trouble = ZeroDivisionError("secret of ours")
        client.say(AUTH)
        self.assertEqual(said(client), ["454 4.7.0 Temporary authentication failure"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_where_nobody_is_anonymous_a_sender_must_log_in(self) -> None:
        door = Door(offer_auth=True, anonymous=False)
        client = door.connect()
        client.say(b"EHLO c\r\nMAIL FROM:<a@b>\r\n" + AUTH + b"MAIL FROM:<a@b>\r\n")
        self.assertEqual(codes(client), ["530 5.7.0", "235 2.7.0", "250 2.1.0"])

    def test_a_client_that_leaves_during_its_login_is_logged_out_when_the_answer_comes(self) -> None:
        door = Door(offer_auth=True)
        door.checker.waits = True
        client = door.connect()
        client.say(b"EHLO c\r\n" + AUTH)
        client.drop()
        self.assertEqual(door.realm.logins, [])
        door.checker.answers[0].callback(None)
        self.assertEqual((door.realm.logins, door.realm.logouts), (["julien"], ["julien"]))
        self.assertEqual(door.capacity.taken, 0)


class LossTests(SynchronousTestCase):
    def test_a_client_that_leaves_in_the_middle_leaves_nothing(self) -> None:
        door = Door()
        client = door.connect()
        client.say(BEGIN + b"half of\r\n a mess")
        client.drop()
        self.assertEqual(door.avatar.incoming[0].ended, "abort")
        self.assertEqual(door.avatar.said[-1], ("reset",))
        self.assertEqual(door.realm.logouts, [None])
        self.assertEqual(door.clock.getDelayedCalls(), [])

    def test_logins_and_logouts_are_as_many_wherever_the_connection_ends(self) -> None:
        octets = b"EHLO c\r\n" + MESSAGE[8:] + AUTH + MESSAGE[8:] + b"QUIT\r\n"
        for place in range(len(octets) + 1):
            door = Door(offer_auth=True)
            client = door.connect()
            client.say(octets[:place])
            client.drop()
            door.clock.advance(0)
            self.assertEqual(door.realm.logins, door.realm.logouts)
            self.assertEqual(door.capacity.taken, 0)
            self.assertFalse(door.factory.connections, "the factory keeps no connection that is gone")
            for avatar in door.realm.avatars:
                self.assertTrue(all(incoming.ended for incoming in avatar.incoming))

    def test_a_message_that_was_being_committed_is_committed(self) -> None:
        door = Door()
        waiting: Deferred[None] = Deferred()
        avatar = RememberingTransactions()
        avatar.waits["commit"] = lambda: waiting
        door.realm.make = lambda name: avatar
        client = door.connect()
        client.say(MESSAGE)
        client.drop()
        self.assertEqual(door.realm.logouts, [])
        waiting.callback(None)
        self.assertEqual(len(avatar.delivered), 1)
        self.assertEqual(door.realm.logouts, [None])

    def test_an_avatar_that_breaks_is_logged_and_the_client_hears_451(self) -> None:
        for step in ("begin", "recipient", "data", "write", "commit"):
            door = Door()
            avatar = RememberingTransactions()
            avatar.troubles[step] = ZeroDivisionError("/var/spool/secret")
            door.realm.make = lambda name, avatar=avatar: avatar
            client = door.connect()
            client.say(MESSAGE if step in ("write", "commit") else BEGIN)
            if not client.disconnecting:
                client.say(b"NOOP\r\n")
            heard = said(client)
            self.assertIn("451 4.3.0 Error: something went wrong here, try again later", heard, step)
            self.assertEqual(heard[-1], "250 2.0.0 Ok", step)
            self.assertNotIn("secret", "".join(heard))
            self.assertTrue(all(incoming.ended for incoming in avatar.incoming), step)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            client.drop()
            self.assertEqual(door.realm.logouts, [None])

    def test_a_portal_that_breaks_is_logged_and_the_client_hears_451(self) -> None:
        door = Door()

        def broken(name: str | None) -> Any:
            raise ZeroDivisionError

        door.realm.make = broken
        client = door.connect()
        client.say(BEGIN[:-20] + b"NOOP\r\n")
        self.assertIn("451 4.3.0", codes(client))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class SilenceTests(SynchronousTestCase):
    def test_a_silent_client_is_let_go_after_smtpd_timeout(self) -> None:
        door = Door(SmtpLimits(timeout=300))
        client = door.connect()
        client.say(BEGIN)
        said(client)
        door.clock.advance(299)
        self.assertEqual(said(client), [])
        door.clock.advance(1)
        self.assertEqual(said(client), [f"421 4.4.2 {HOSTNAME} Error: timeout exceeded"])
        door.clock.advance(0)
        self.assertEqual(door.avatar.incoming[0].ended, "abort")

    def test_a_message_that_comes_slower_than_the_least_rate_is_given_up_in_the_end(self) -> None:
        """It may be slower for a while: what counts is the time that it took more than it should have."""
        door = Door(SmtpLimits(timeout=300, min_data_rate=500, message_size_limit=0))
        client = door.connect()
        client.say(BEGIN)
        said(client)
        for _ in range(598):  # half of the rate costs half a second every second
            client.say(b"x" * 250)
            door.clock.advance(1)
        self.assertEqual(said(client), [])
        door.clock.advance(1.1)
        self.assertEqual(said(client), [f"421 4.4.2 {HOSTNAME} Error: timeout exceeded"])

    def test_a_message_at_the_least_rate_may_take_as_long_as_it_likes(self) -> None:
        door = Door(SmtpLimits(timeout=300, min_data_rate=500, message_size_limit=100))
        client = door.connect()
        client.say(BEGIN)
        for _ in range(1000):  # refused long since, and still read to its end
            client.say(b"x" * 500)
            door.clock.advance(1)
        client.say(b"\r\n.\r\n")
        self.assertEqual(codes(client)[-1], "552 5.3.4")

    def test_nothing_is_saved_up_by_coming_fast(self) -> None:
        door = Door(SmtpLimits(timeout=300, min_data_rate=500, message_size_limit=0))
        client = door.connect()
        client.say(BEGIN + b"x" * 1_000_000)
        said(client)
        door.clock.advance(299)
        self.assertEqual(said(client), [])
        door.clock.advance(1)
        self.assertEqual(codes(client), ["421 4.4.2"])

    def test_a_message_begins_with_all_the_time_that_a_command_has(self) -> None:
        door = Door(SmtpLimits(timeout=300))
        client = door.connect()
        client.say(b"EHLO c\r\nMAIL FROM:<julien@x>\r\nRCPT TO:<nel@x>\r\n")
        door.clock.advance(299)
        client.say(b"DATA\r\n")
        door.clock.advance(299)
        client.say(b"Hello\r\n.\r\n")
        door.clock.advance(299)
        client.say(b"QUIT\r\n")
        self.assertEqual(codes(client)[-2:], ["250 2.0.0", "221 2.0.0"])

    def test_the_time_in_which_we_do_not_read_is_ours(self) -> None:
        door = Door(SmtpLimits(timeout=300, min_data_rate=500))
        waiting: list[Deferred[None]] = []
        avatar = RememberingTransactions()
        avatar.waits["write"] = lambda: waiting.append(Deferred()) or waiting[-1]  # type: ignore[func-returns-value]
        door.realm.make = lambda name: avatar
        client = door.connect()
        client.say(BEGIN)
        door.clock.advance(200)
        client.say(b"a piece, ")
        door.clock.pump([100] * 20)  # the disk is slow
        waiting.pop().callback(None)
        said(client)
        door.clock.advance(99)
        self.assertEqual(said(client), [])
        door.clock.advance(2)
        self.assertEqual(codes(client), ["421 4.4.2"])

    def test_without_a_deadline_each_octet_begins_the_time_anew(self) -> None:
        door = Door(SmtpLimits(timeout=300, per_request_deadline=False))
        client = door.connect()
        for octet in b"NOOP\r\n":
            client.say(bytes((octet,)))
            door.clock.advance(299)
        client.say(BEGIN)
        for _ in range(10):
            client.say(b"x")
            door.clock.advance(299)
        client.say(b"\r\n.\r\n")
        self.assertEqual((codes(client)[-1], client.disconnecting), ("250 2.0.0", False))
        door.clock.advance(300)
        self.assertEqual(codes(client), ["421 4.4.2"])

    def test_an_octet_a_minute_holds_nothing(self) -> None:
        for before, drip in ((b"", b"NOOP"), (BEGIN, b"Hello"), (b"EHLO c\r\nAUTH LOGIN\r\n", b"anVsaWVu")):
            door = Door(SmtpLimits(timeout=300), offer_auth=True)
            client = door.connect()
            client.say(before)
            for minute in range(6):
                self.assertEqual(client.disconnecting, minute > 4, before)
                client.say(drip[minute % len(drip) :][:1])
                door.clock.advance(60.1)
            self.assertEqual(codes(client)[-1], "421 4.4.2", before)

    def test_no_time_runs_while_a_message_is_being_stored(self) -> None:
        door = Door(SmtpLimits(timeout=300))
        waiting: Deferred[None] = Deferred()
        avatar = RememberingTransactions()
        avatar.waits["commit"] = lambda: waiting
        door.realm.make = lambda name: avatar
        client = door.connect()
        client.say(MESSAGE)
        door.clock.pump([200] * 10)
        waiting.callback(None)
        self.assertEqual(codes(client)[-1], "250 2.0.0")

    def test_a_client_that_never_reads_is_cut_in_the_end(self) -> None:
        door = Door(SmtpLimits(timeout=300))
        client = door.connect()
        client.loseConnection = lambda: None  # type: ignore[method-assign]  # its buffer never empties
        client.producer.pauseProducing()
        for _ in range(100):
            client.say(b"NOOP\r\n" * 2000) if client.producerState == "producing" else None
        self.assertEqual(client.producerState, "paused")
        self.assertLess(len(client.value()), 1000)
        door.clock.advance(300)
        door.clock.advance(GRACE)
        self.assertTrue(client.aborted)
        door.clock.advance(0)
        self.assertEqual(door.capacity.taken, 0)


class DoorTests(SynchronousTestCase):
    def test_one_client_too_many_hears_421_and_is_not_counted(self) -> None:
        door = Door(per_client=2)
        first, second = door.connect(), door.connect()
        third = MemoryTransport(door.clock, "192.168.1.5")
        third.connect(door.factory.buildProtocol(third.getPeer()))
        self.assertEqual(said(third), [f"421 4.7.0 {HOSTNAME} Error: too many connections from 192.168.1.5"])
        self.assertTrue(third.disconnecting)
        door.clock.advance(0)
        self.assertEqual(door.capacity.taken, 2)
        door.connect("192.168.1.6").say(b"NOOP\r\n")
        first.drop()
        self.assertEqual(door.capacity.taken, 2)
        again = door.connect()
        again.say(b"NOOP\r\n")
        self.assertEqual(codes(again), ["250 2.0.0"])
        second.drop()

    def test_a_refused_client_that_never_reads_is_cut(self) -> None:
        door = Door(capacity=0)
        client = MemoryTransport(door.clock)
        client.loseConnection = lambda: None  # type: ignore[method-assign]
        client.connect(door.factory.buildProtocol(client.getPeer()))
        self.assertTrue(said(client)[0].startswith("421 4.7.0"))
        door.clock.advance(GRACE)
        self.assertTrue(client.aborted)

    def test_a_stop_lets_the_idle_go_and_the_busy_finish(self) -> None:
        door = Door()
        idle, busy = door.connect(), door.connect()
        busy.say(BEGIN + b"half")
        stopped = door.factory.stop()
        self.assertTrue(said(idle)[0].startswith("421 4.3.2"))
        late = MemoryTransport(door.clock)
        late.connect(door.factory.buildProtocol(late.getPeer()))
        self.assertTrue(said(late)[0].startswith("421 4.3.2"))
        door.clock.advance(1)
        self.assertNoResult(stopped)
        busy.say(b" and half\r\n.\r\nMAIL FROM:<more@x>\r\n")
        self.assertEqual(codes(busy)[-2:], ["250 2.0.0", "421 4.3.2"])
        door.clock.advance(0)
        self.successResultOf(stopped)
        self.assertEqual(len(door.avatar.delivered), 1)
        self.assertEqual(door.clock.getDelayedCalls(), [])

    def test_a_stop_does_not_wait_for_a_mailbox_longer_than_its_time(self) -> None:
        """Another program may hold the mailbox for minutes; the client sends its message again."""
        door = Door()
        avatar = RememberingTransactions()
        held: Deferred[None] = Deferred()
        avatar.waits["commit"] = lambda: held
        door.realm.make = lambda name: avatar
        client = door.connect()
        client.say(MESSAGE)
        stopped = door.factory.stop(5)
        door.clock.advance(5)
        door.clock.advance(0)
        self.successResultOf(stopped)
        self.assertTrue(client.aborted)
        held.callback(None)
        self.assertEqual(door.realm.logouts, [None])

    def test_a_stop_with_nobody_there_is_done_at_once(self) -> None:
        self.successResultOf(Door().factory.stop())

    def test_who_is_still_busy_when_the_time_is_over_is_cut_off(self) -> None:
        door = Door()
        busy = door.connect()
        busy.say(BEGIN + b"half")
        stopped = door.factory.stop(5)
        door.clock.advance(5)
        self.assertTrue(busy.aborted)
        door.clock.advance(0)
        self.successResultOf(stopped)
        self.assertEqual(door.avatar.incoming[0].ended, "abort")


class LogTests(SynchronousTestCase):
    def test_a_connection_is_one_line_at_its_start_and_one_at_its_end(self) -> None:
        observer = EventLoggingObserver()
        mail_events.addObserver(observer)
        self.addCleanup(mail_events.removeObserver, observer)
        client = Door().connect()
        client.say(MESSAGE + b"FOO\r\n")
        client.drop()
        lines = [formatEvent(event) for event in observer]
        self.assertEqual(
            lines,
            [
                "connect from unknown[192.168.1.5]",
                "lost connection after UNKNOWN from unknown[192.168.1.5]",
                "disconnect from unknown[192.168.1.5] ehlo=1 mail=1 rcpt=1 data=1 unknown=0/1 commands=4/5",
            ],
        )
        self.assertEqual({event["log_namespace"] for event in observer}, {"smtpd"})


class BoundsTests(SynchronousTestCase):
    def test_a_megabyte_of_noise_is_answered_or_hung_up_on_and_nothing_breaks(self) -> None:
        pattern = bytes(range(256)) * 16
        for noise in (pattern, b"\r\n" * 2048, b"\0" * 4096, b"EHLO \xff\r\n" * 400, b"x" * 4096, b"\r" * 4096):
            door = Door()
            client = door.connect()
            for _ in range(256):
                client.say(noise)
                door.clock.advance(1)
                client.clear()
            client.drop()
            self.assertEqual(door.capacity.taken, 0)

    def test_a_line_that_never_ends_takes_no_memory_and_ends_with_the_timeout(self) -> None:
        """Twisted's own server keeps all of it, and goes on answering."""
        door = Door()
        client = door.connect()
        for _ in range(300):
            client.say(b"x" * 65536)
            self.assertLess(len(client.protocol.session._input), 65536)
            door.clock.advance(1)
        self.assertEqual([line[:9] for line in said(client)], ["421 4.4.2"])

    def test_fifty_megabytes_pass_through_in_bounded_pieces(self) -> None:
        door = Door(SmtpLimits(message_size_limit=0))
        client = door.connect()
        client.say(BEGIN)
        door.avatar.keeps_text = False
        piece = (b"x" * 76 + b"\r\n") * 840
        count = 50_000_000 // len(piece)
        for _ in range(count):
            client.say(piece)
            self.assertLess(len(client.protocol.session._input), 1 << 16)
        client.say(b".\r\n")
        self.assertEqual(codes(client)[-1], "250 2.0.0")
        (incoming,) = door.avatar.delivered
        self.assertEqual(incoming.octets, count * len(piece.replace(b"\r\n", b"\n")))
        self.assertLess(incoming.largest, 1 << 17)

    def test_a_slow_disk_stops_the_client_and_not_the_memory(self) -> None:
        door = Door()
        waiting: list[Deferred[None]] = []
        avatar = RememberingTransactions()

        def wait() -> Deferred[None]:
            waiting.append(Deferred())
            return waiting[-1]

        avatar.waits["write"] = wait
        door.realm.make = lambda name: avatar
        client = door.connect()
        client.say(BEGIN)
        sent = 0
        while client.producerState == "producing":
            client.say(b"x" * 1000)
            sent += 1000
            self.assertLess(sent, 1 << 18)
        while any(not answer.called for answer in waiting):
            waiting[-1].callback(None)
        self.assertEqual(client.producerState, "producing")
