from __future__ import annotations

import errno
import os

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lanmail.address import Address
from lanmail.delivery.sender_logins import MAX_FILE, SenderLogins
from lanmail.files import open_plainly
from tests.delivery.house import Reports, address, at_once

TABLE = """\
# who may write as whom
info@lan.example        ann, bob
sales@shop.example      Ann@lan.example
office                  bob
@club.example           ann
ann+x@club.example      bob
"""


class SenderLoginTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.report = Reports()
        self.path = os.path.abspath(self.mktemp())
        self.opened = open_plainly

    def table(self, *paths: str, text: str = TABLE) -> SenderLogins:
        self.write(text)
        return SenderLogins(
            paths or [self.path],
            {"lan.example", "srv.lan.example"},
            "+",
            at_once,
            self.report,
            self.clock.seconds,
            opened=lambda path: self.opened(path),
        )

    def write(self, text: str) -> None:
        with open(self.path + ".new", "w") as file:
            file.write(text)
            os.fchmod(file.fileno(), 0o644)
        os.rename(self.path + ".new", self.path)

    def may(self, table: SenderLogins, login: str, sender: str) -> bool:
        return self.successResultOf(Deferred.fromCoroutine(table.may_send_as(login, address(sender))))

    def test_addresses_names_and_domains_are_looked_for_in_postfixs_order(self) -> None:
        table = self.table()
        for login, sender, whether in (
            ("ann", "info@lan.example", True),
            ("bob", "Info@lan.example", True),
            ("eve", "info@lan.example", False),
            ("ann", "info+spring@lan.example", True),
            ("ann", "sales@shop.example", True),
            ("bob", "office@lan.example", True),
            ("bob", "office@srv.lan.example", True),
            ("bob", "office@elsewhere.example", False),
            ("ann", "anybody@club.example", True),
            ("bob", "anybody@club.example", False),
            # The first that fits decides, and here that is bob's.
            ("bob", "ann+x@club.example", True),
            ("ann", "ann+x@club.example", False),
        ):
            self.assertEqual(self.may(table, login, sender), whether, (login, sender))
        self.assertEqual(self.report, [])

    def test_a_changed_file_counts_a_second_later(self) -> None:
        table = self.table()
        self.assertTrue(self.may(table, "ann", "info@lan.example"))
        self.write("info@lan.example eve\n")
        self.assertTrue(self.may(table, "ann", "info@lan.example"))
        self.clock.advance(1)
        self.assertFalse(self.may(table, "ann", "info@lan.example"))
        self.assertTrue(self.may(table, "eve", "info@lan.example"))

    def test_a_file_that_is_gone_lets_nobody_in_and_is_told_of_once(self) -> None:
        table = self.table()
        self.assertTrue(self.may(table, "ann", "info@lan.example"))
        os.remove(self.path)
        for _ in range(3):
            self.clock.advance(1)
            self.assertFalse(self.may(table, "ann", "info@lan.example"))
        told = f"warning: smtpd_sender_login_maps: {self.path}: cannot read it: No such file or directory"
        self.assertEqual(self.report, [told])
        self.write(TABLE)
        self.clock.advance(1)
        self.assertTrue(self.may(table, "ann", "info@lan.example"))

    def test_a_file_that_cannot_be_had_just_now_stays_as_it_was(self) -> None:
        table = self.table()
        self.assertTrue(self.may(table, "ann", "info@lan.example"))

        def none_left(path: str) -> int:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), path)

        self.opened = none_left
        self.clock.advance(1)
        self.assertTrue(self.may(table, "ann", "info@lan.example"))
        self.assertIn("Too many open files", self.report[0])

    def test_bad_lines_are_named_and_the_others_count(self) -> None:
        table = self.table(text="ann@\nannette@ ann\n@ ann\nempty@lan.example\nx@lan.example ann\nX@lan.example bob\n")
        self.assertTrue(self.may(table, "ann", "x@lan.example"))
        self.assertFalse(self.may(table, "bob", "x@lan.example"))
        self.assertEqual(
            self.report,
            [
                f'warning: {self.path}:1: "ann@" is neither an address, nor a name, nor @domain',
                f'warning: {self.path}:2: "annette@" is neither an address, nor a name, nor @domain',
                f'warning: {self.path}:3: "@" is neither an address, nor a name, nor @domain',
                f'warning: {self.path}:4: "empty@lan.example" has no login behind it',
                f'warning: {self.path}:6: "X@lan.example" is there already; the first one counts',
            ],
        )

    def test_of_several_files_the_first_that_knows_the_address_decides(self) -> None:
        second = os.path.abspath(self.mktemp())
        with open(second, "w") as file:
            file.write("info@lan.example eve\nother@lan.example eve\n")
            os.fchmod(file.fileno(), 0o644)
        table = self.table(self.path, second)
        self.assertFalse(self.may(table, "eve", "info@lan.example"))
        self.assertTrue(self.may(table, "eve", "other@lan.example"))

    def test_neither_a_fifo_nor_a_file_without_end_is_read(self) -> None:
        table = self.table(text="x" * (MAX_FILE + 1))
        self.assertFalse(self.may(table, "ann", "info@lan.example"))
        self.assertIn(f"more than {MAX_FILE} octets", self.report[0])
        os.remove(self.path)
        os.mkfifo(self.path)
        self.clock.advance(1)
        self.assertFalse(self.may(table, "ann", "info@lan.example"))
        self.assertIn("not a regular file", self.report[1])

    def test_a_file_into_which_everybody_can_write_gives_nobody_anything(self) -> None:
        table = self.table()
        os.chmod(self.path, 0o646)
        self.assertFalse(self.may(table, "ann", "info@lan.example"))
        self.assertIn(f"everybody can write into it, and so send as anybody; chmod o-w {self.path}", self.report[0])
        os.chmod(self.path, 0o664)
        self.clock.advance(1)
        self.assertTrue(self.may(table, "ann", "info@lan.example"))

    def test_without_a_table_nothing_is_looked_at(self) -> None:
        table = SenderLogins([], (), "", at_once, self.report, self.clock.seconds)
        self.assertFalse(self.may(table, "ann", str(Address("x", "y.example"))))
