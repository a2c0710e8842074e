from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from lanmail.address import NULL_SENDER
from lanmail.interfaces import Greeting, MailParameters, User
from lanmail.network import Peer
from lanmail.status import Status, TemporaryFailure
from tests.delivery.house import House, address
from tests.delivery.test_reception import ReceptionTestCase

ALIASES = "a.smith: ann\ninfo: ann\nstaff: ann, bob\nroot: ann\nscan: /dev/null\n"


class SendersTestCase(ReceptionTestCase):
    def mail_from(self, house: House, sender: str, peer: Peer, login: str | None = None) -> str:
        """The status of the refusal; empty where there is none."""
        user = None if login is None else house.users.known[login]
        begun = Deferred.fromCoroutine(
            house.reception(user).begin(
                address(sender) if sender else NULL_SENDER, MailParameters(), Greeting("pc", True), peer
            )
        )
        results: list[Any] = []
        begun.addBoth(results.append)
        return str(results[0].value.status) if isinstance(results[0], Failure) else ""


class WithoutLoginTests(SendersTestCase):
    def small_house(self, **options: Any) -> House:
        return self.house("ann", "bob", aliases=ALIASES, recipient_delimiter="+", **options)

    def test_anybody_sends_as_anybody_where_nothing_else_is_said(self) -> None:
        house = self.small_house()
        for sender in ("ann@lan.example", "root@lan.example", "nobody@lan.example", "x@elsewhere.example"):
            self.assertEqual(self.mail_from(house, sender, Peer("192.168.1.5")), "")

    def test_somebodys_address_needs_a_login_where_that_is_asked_for(self) -> None:
        house = self.small_house(local_need_login=True)
        for host in ("192.168.1.5", "203.0.113.9", "fd00::5"):
            for sender in (
                "ann@lan.example",
                "ANN@srv.lan.example",
                "ann",
                "ann+x@lan.example",
                "ann@[192.168.1.1]",
                "a.smith@lan.example",
                "info@lan.example",
                "root@lan.example",
                "postmaster@lan.example",
            ):
                refused = self.mail_from(house, sender, Peer(host))
                self.assertRegex(
                    refused,
                    r"^553 5\.7\.1 <[^>]*>: Sender address rejected: not logged in, and it is somebody's address here;"
                    r" switch on authentication .*lanmail device add",
                    sender,
                )
                self.assertLess(len(refused), 500)

    def test_others_addresses_nobodys_a_lists_and_none_at_all_do_not(self) -> None:
        house = self.small_house(local_need_login=True)
        for sender in (
            "",
            "x@elsewhere.example",
            "ann@elsewhere.example",
            "printer@lan.example",
            "scan@lan.example",
            "staff@lan.example",
            "ann%elsewhere.example@lan.example",
        ):
            self.assertEqual(self.mail_from(house, sender, Peer("192.168.1.5")), "", sender)

    def test_whoever_logs_in_is_asked_nothing_more(self) -> None:
        house = self.small_house(local_need_login=True)
        self.assertEqual(self.mail_from(house, "a.smith@lan.example", Peer("203.0.113.9"), "ann"), "")
        self.assertIn("not owned by user ann", self.mail_from(house, "bob@lan.example", Peer("203.0.113.9"), "ann"))

    def test_a_device_sends_as_whom_it_was_given_also_where_that_is_somebody(self) -> None:
        house = self.small_house(local_need_login=True)
        with open(os.path.join(house.folder, "devices"), "w") as file:
            file.write("192.168.1.77 from=ann@lan.example\n")
        house.devices.load()
        self.assertEqual(self.mail_from(house, "bob@lan.example", Peer("192.168.1.77")), "")

    def test_where_it_cannot_be_known_whose_it_is_the_client_comes_later(self) -> None:
        house = self.small_house(local_need_login=True)
        house.users.trouble = TemporaryFailure(Status(451, "4.3.0", "later"))
        self.assertEqual(self.mail_from(house, "bob@lan.example", Peer("192.168.1.77")), "451 4.3.0 later")
        self.assertEqual(self.mail_from(house, "x@elsewhere.example", Peer("192.168.1.77")), "")


class OwnMachineTests(SendersTestCase):
    """Who is at the other end of a connection from loopback, the kernel is asked: here it is a real one."""

    def setUp(self) -> None:
        super().setUp()
        listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listening.close)
        self.client = socket.create_connection(listening.getsockname())
        self.addCleanup(self.client.close)
        server, there = listening.accept()
        self.addCleanup(server.close)
        self.peer = Peer(there[0], there[1], *listening.getsockname())

    def machine(self) -> House:
        house = self.house("ann", "bob", aliases="root: ann\n", local_need_login=True)
        house.users.known["bob"] = User("bob", os.geteuid() + 1234, 100)
        return house

    def test_cron_tells_root_as_root_whoever_it_runs_as(self) -> None:
        house = self.machine()
        for sender in ("root@lan.example", "postmaster@srv.lan.example", "MAILER-DAEMON", "abuse"):
            for peer in (self.peer, Peer("127.0.0.1", 1, "127.0.0.1", 25), Peer("::1"), Peer("")):
                self.assertEqual(self.mail_from(house, sender, peer), "", sender)
        self.assertEqual(house.report, [])

    def test_a_users_own_program_sends_as_them_and_as_nobody_else(self) -> None:
        house = self.machine()
        self.assertEqual(self.mail_from(house, "ann@lan.example", self.peer), "")
        as_bob = self.mail_from(house, "bob@lan.example", self.peer)
        # Root's programs are anybody's: it could become them.
        self.assertEqual(as_bob[:9], "" if os.geteuid() == 0 else "553 5.7.1")

    def test_a_connection_that_the_kernel_does_not_know_is_nobodys(self) -> None:
        house = self.machine()
        for peer in (Peer("127.0.0.1", 1, "127.0.0.1", 25), Peer("")):
            self.assertEqual(self.mail_from(house, "ann@lan.example", peer)[:9], "553 5.7.1")

    def test_to_have_said_all_and_closed_makes_nobody_root(self) -> None:
        house = self.machine()
        self.client.close()
        self.assertEqual(self.mail_from(house, "ann@lan.example", self.peer)[:9], "553 5.7.1")


class TableTests(SendersTestCase):
    def test_more_senders_are_given_by_a_table(self) -> None:
        house = self.house("ann", "bob", sender_logins="sales ann\n@shop.example bob\n")
        for login, sender, refused in (
            ("ann", "sales@lan.example", False),
            ("ann", "sales", False),
            ("bob", "sales@lan.example", True),
            ("bob", "any@shop.example", False),
            ("ann", "any@shop.example", True),
        ):
            self.assertEqual(bool(self.mail_from(house, sender, Peer("203.0.113.9"), login)), refused, (login, sender))

    def test_a_line_of_the_table_takes_nothing_from_whose_address_it_is(self) -> None:
        house = self.house("ann", "bob", sender_logins="ann@lan.example bob\n")
        for login in ("ann", "bob"):
            self.assertEqual(self.mail_from(house, "ann@lan.example", Peer("203.0.113.9"), login), "")
