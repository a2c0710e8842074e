from __future__ import annotations

import errno
import os

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lanmail.address import Address
from lanmail.delivery import aliases
from lanmail.delivery.alias_syntax import Member, parted, targets
from lanmail.delivery.aliases import Aliases
from lanmail.files import open_plainly
from tests.delivery.crossroads import Reports


def words(text: str) -> list[str]:
    return [target.text for target in targets(text)]


class SyntaxTests(SynchronousTestCase):
    def test_a_list_is_parted_by_commas_outside_quotes_and_comments(self) -> None:
        self.assertEqual(words('ann, "a,b"@lan , (nobody, really) bob ,,'), ["ann", "a,b@lan", "bob"])

    def test_an_address_may_stand_in_brackets_behind_a_name(self) -> None:
        self.assertEqual(words('Ann Smith <ann@lan> (sales), "Bob, the builder" <bob>'), ["ann@lan", "bob"])

    def test_the_last_at_outside_quotes_parts_local_part_and_domain(self) -> None:
        (target,) = targets('"odd@name"@LAN.example.')
        self.assertEqual(target.member(), Member(Address("odd@name", "lan.example")))

    def test_a_backslash_before_a_name_means_the_mailbox(self) -> None:
        self.assertEqual(next(targets("\\ann")).member(), Member(Address("ann"), verbatim=True))

    def test_names_are_quoted_where_they_need_it(self) -> None:
        self.assertEqual(parted('"Odd: Name" : x'), ("odd: name", " x"))
        self.assertEqual(parted("Sales:x"), ("sales", "x"))

    def test_what_is_no_alias_says_why(self) -> None:
        for line, reason in (
            ("ann bob", "expected"),
            (": ann", "missing before the colon"),
            ("ann@lan: bob", "without a domain"),
        ):
            self.assertIn(reason, str(self.assertRaises(ValueError, parted, line)))
        self.assertIn("other half", str(self.assertRaises(ValueError, words, 'a, "b')))
        self.assertIn("other half", str(self.assertRaises(ValueError, words, "a (b")))
        self.assertIn("comma", str(self.assertRaises(ValueError, next(targets("ann bob")).member)))
        self.assertRaises(ValueError, next(targets("ann@")).member)
        self.assertRaises(ValueError, next(targets("@lan")).member)


class AliasesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.makedirs(self.folder)
        self.path = os.path.join(self.folder, "aliases")
        self.clock = Clock()
        self.report = Reports()

    def write(self, text: str | bytes, name: str = "aliases") -> str:
        path = os.path.join(self.folder, name)
        with open(path, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        return path

    def read(self, text: str | bytes) -> Aliases:
        self.write(text)
        table = Aliases([self.path], self.report, self.clock.seconds)
        table.refresh()
        return table

    def members(self, table: Aliases, name: str) -> list[str]:
        alias = table.find(name)
        assert alias is not None, name
        return [str(member.address) for member in alias.members]

    def test_a_name_is_found_in_any_case(self) -> None:
        table = self.read("Sales: ann, bob\n")
        self.assertEqual(self.members(table, "sALES"), ["ann", "bob"])
        self.assertIsNone(table.find("nobody"))
        self.assertEqual(self.report, [])

    def test_lines_go_on_where_white_space_begins_them(self) -> None:
        table = self.read("a: b,\n  # not this\n\n\tc\n# nor this\nd: e\r\n")
        self.assertEqual((self.members(table, "a"), self.members(table, "d")), (["b", "c"], ["e"]))
        self.assertEqual(self.report, [])

    def test_only_a_line_feed_ends_a_line(self) -> None:
        # In Windows' code page 0x85 is three dots; for str.splitlines it would be a line end, and "root: eve" an alias.
        table = self.read(b"# and so on\x85 root: eve\n# \xe9t\xe9\x0broot: eve\nann: bob\x00, eve\n")
        self.assertIsNone(table.find("root"))
        # Nor may a member hold what would be an odd line of a header.
        self.assertEqual(self.members(table, "ann"), ["eve"])

    def test_a_bad_line_is_a_warning_with_its_place_and_the_others_stay(self) -> None:
        table = self.read("ok: ann\nthis is not one\nalso: bob, c d, eve\n")
        self.assertEqual(self.members(table, "ok"), ["ann"])
        self.assertEqual(self.members(table, "also"), ["bob", "eve"])
        self.assertEqual(len(self.report), 2)
        self.assertTrue(self.report[0].startswith(f"warning: {self.path}:2: expected"))
        self.assertTrue(self.report[1].startswith(f"warning: {self.path}:3: c d: "))

    def test_of_two_lines_for_one_name_the_first_counts(self) -> None:
        table = self.read("ann: bob\nANN: eve\n")
        self.assertEqual(self.members(table, "ann"), ["bob"])
        self.assertIn(":2:", self.report[0])

    def test_files_and_programs_are_warned_of_and_mark_their_alias(self) -> None:
        table = self.read('a: ann, "|/usr/bin/vacation ann"\nb: /var/mail/archive\nc: /dev/null\nd: |/bin/x y\n')
        for name in "abd":
            alias = table.find(name)
            assert alias is not None
            self.assertTrue(alias.unusable, name)
        c = table.find("c")
        assert c is not None
        self.assertTrue(c.discards and not c.unusable)
        self.assertEqual(len(self.report), 3)
        self.assertIn("program", self.report[0])
        self.assertIn("a file", self.report[1])

    def test_included_files_with_their_comments_names_and_files_of_their_own(self) -> None:
        inner = self.write("eve\n", "inner")
        outer = self.write(f"# people\nann, Bob <bob@lan>\n\n:include:{inner}\n", "outer")
        table = self.read(f'all: zoe, ":include:{outer}"\n')
        self.assertEqual(self.members(table, "all"), ["zoe", "ann", "bob@lan", "eve"])
        self.assertEqual(self.report, [])

    def test_a_file_that_includes_itself_ends(self) -> None:
        path = os.path.join(self.folder, "self")
        self.write(f"ann\n:include:{path}\n", "self")
        table = self.read(f"all: :include:{path}\n")
        self.assertEqual(self.members(table, "all"), ["ann"])
        self.assertIn("includes itself", self.report[0])

    def test_a_missing_included_file_is_a_warning_and_marks_the_alias(self) -> None:
        table = self.read("all: ann, :include:/nowhere/at/all\n")
        alias = table.find("all")
        assert alias is not None
        self.assertTrue(alias.incomplete)
        self.assertIn(f"{self.path}:1: cannot read /nowhere/at/all", self.report[0])

    def test_a_fifo_in_the_place_of_a_file_stops_nobody(self) -> None:
        path = os.path.join(self.folder, "fifo")
        os.mkfifo(path)
        table = self.read(f"all: ann, :include:{path}\n")
        self.assertEqual(self.members(table, "all"), ["ann"])
        self.assertIn("is not a file", self.report[0])

    def test_what_is_no_file_or_not_for_everybody_is_not_included(self) -> None:
        secret = self.write("root:$y$hash\n", "secret")
        os.chmod(secret, 0o640)
        link = os.path.join(self.folder, "link")
        os.symlink(secret, link)
        before = len(os.listdir("/proc/self/fd"))
        for path in (secret, link, "/dev/zero", self.folder, "/a\0b"):
            self.report.clear()
            table = self.read(f"all: :include:{path}\nann: bob\n")
            self.assertEqual((self.members(table, "all"), self.members(table, "ann")), ([], ["bob"]))
            self.assertTrue(self.report, path)
            self.assertNotIn("hash", "".join(self.report))
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    def test_loops_are_told_of_but_not_an_alias_that_names_itself(self) -> None:
        self.read("a: b\nb: c, x\nc: a\nann: ann, bob\n")
        self.assertEqual(
            [line for line in self.report if "loop" in line],
            ["warning: aliases: a loop: a leads to b leads to c leads to a"],
        )

    def test_a_list_has_the_owner_that_is_named_after_it(self) -> None:
        table = self.read("list: ann\nowner-list: bob\n")
        owner = table.owner("LIST")
        assert owner is not None
        self.assertEqual(owner.name, "owner-list")

    def test_a_changed_file_is_read_again_and_not_looked_at_more_than_once_a_second(self) -> None:
        table = self.read("a: ann\n")
        self.assertFalse(table.due())
        self.write("a: bob, eve\n")
        self.clock.advance(1)
        self.assertTrue(table.due())
        table.refresh()
        self.assertEqual(self.members(table, "a"), ["bob", "eve"])

    def test_until_the_first_reading_is_done_whoever_asks_waits_for_it(self) -> None:
        asked: list[bool] = []

        def slowly(path: str) -> int:
            asked.append(table.due())  # somebody else asks, while a thread reads
            return open_plainly(path)

        table = Aliases([self.write("staff: ann")], self.report, self.clock.seconds, opened=slowly)
        table.refresh()
        self.assertEqual((asked, table.due()), ([True], False))

    def test_a_changed_included_file_is_read_again(self) -> None:
        path = self.write("ann\n", "list")
        table = self.read(f"all: :include:{path}\n")
        self.write("ann\nbob\n", "list")
        table.refresh()
        self.assertEqual(self.members(table, "all"), ["ann", "bob"])

    def test_a_file_that_an_editor_is_writing_anew_empties_no_alias(self) -> None:
        table = self.read("a: ann\n")
        for vanish in (lambda: self.write(""), lambda: os.unlink(self.path)):
            vanish()
            table.refresh()
            self.assertEqual(self.members(table, "a"), ["ann"])
            self.write("a: ann, bob\n")
            table.refresh()
            self.assertEqual(self.members(table, "a"), ["ann", "bob"])
            self.write("a: ann\n")
            table.refresh()
        os.unlink(self.path)
        table.refresh()
        table.refresh()
        self.assertIsNone(table.find("a"))

    def test_a_file_that_appears_later_is_read(self) -> None:
        table = Aliases([self.path], self.report, self.clock.seconds)
        self.assertTrue(table.due())
        table.refresh()
        self.assertIn("cannot read", self.report[0])
        self.write("a: ann\n")
        table.refresh()
        self.assertEqual(self.members(table, "a"), ["ann"])

    def test_files_are_opened_by_whoever_is_handed_in_and_looked_at_in_no_other_way(self) -> None:
        listed = self.write("bob\n", "list")
        os.chmod(listed, 0o644)
        self.write(f"a: :include:{listed}\n")
        opened: list[str] = []

        def guard(path: str) -> int:
            opened.append(path)
            return open_plainly(path)

        table = Aliases([self.path], self.report, self.clock.seconds, opened=guard)
        table.refresh()
        self.assertEqual((self.members(table, "a"), opened), (["bob"], [self.path, listed]))
        self.patch(os, "stat", lambda *_: self.fail("the folder may be root's alone"))
        table.refresh()
        self.assertEqual(opened, [self.path, listed] * 2)

    def test_a_guard_that_does_not_answer_empties_no_alias(self) -> None:
        self.write("a: ann\n")
        trouble: list[OSError] = []

        def guard(path: str) -> int:
            if trouble:
                raise trouble[0]
            return open_plainly(path)

        table = Aliases([self.path], self.report, self.clock.seconds, opened=guard)
        table.refresh()
        self.write("a: ann, bob\n")
        for number in (errno.EIO, errno.EIO, errno.EMFILE):
            trouble[:] = [OSError(number, "no answer" if number == errno.EIO else "Too many open files")]
            table.refresh()
            self.assertEqual(self.members(table, "a"), ["ann"])
        after = "the aliases stay as they were before"
        self.assertEqual(
            self.report,
            [
                f"warning: alias_maps: cannot read {self.path}: {why}; {after}"
                for why in ("no answer", "Too many open files")
            ],
        )
        trouble.clear()
        table.refresh()
        self.assertEqual(self.members(table, "a"), ["ann", "bob"])

    def test_nor_does_one_that_falls_silent_between_the_look_and_the_reading(self) -> None:
        self.write("a: ann\n")
        calls = 0

        def guard(path: str) -> int:
            nonlocal calls
            calls += 1
            if calls == 3:
                raise OSError(errno.EIO, "no answer")
            return open_plainly(path)

        table = Aliases([self.path], self.report, self.clock.seconds, opened=guard)
        table.refresh()
        self.write("a: ann, bob\n")
        table.refresh()
        self.assertEqual(self.members(table, "a"), ["ann"])
        table.refresh()
        self.assertEqual(self.members(table, "a"), ["ann", "bob"])

    def test_what_somebody_includes_and_cannot_be_had_holds_up_only_its_own_alias(self) -> None:
        listed = self.write("bob\n", "list")
        os.chmod(listed, 0o644)
        self.write(f"a: :include:{listed}\nb: ann\n")
        silent = False

        def guard(path: str) -> int:
            if silent and path == listed:
                raise OSError(errno.EIO, "no answer")
            return open_plainly(path)

        table = Aliases([self.path], self.report, self.clock.seconds, opened=guard)
        table.refresh()
        silent = True
        self.write(f"a: :include:{listed}\nb: ann, eve\n")
        table.refresh()
        table.refresh()
        self.assertEqual(self.members(table, "b"), ["ann", "eve"])
        alias = table.find("a")
        assert alias is not None
        self.assertTrue(alias.incomplete)

    def test_the_first_of_several_files_decides(self) -> None:
        other = self.write("a: second\nb: second\n", "other")
        self.write("a: first\n")
        table = Aliases([self.path, other], self.report, self.clock.seconds)
        table.refresh()
        self.assertEqual((self.members(table, "a"), self.members(table, "b")), (["first"], ["second"]))

    def test_everything_is_bounded(self) -> None:
        self.patch(aliases, "MAX_MEMBERS", 3)
        self.patch(aliases, "MAX_FILE", 40)
        table = self.read("a: b, c, d, e, f\nz: y\n" + "# long\n" * 20 + "late: x\n")
        self.assertEqual(self.members(table, "a"), ["b", "c", "d"])
        self.assertIsNone(table.find("late"))
        self.assertTrue(any("at most 3 members" in line for line in self.report))
        self.assertTrue(any("more than 40 octets" in line for line in self.report))

    def test_a_file_in_latin_1_is_read(self) -> None:
        table = self.read("# réseau\ndirecteur: andr\u00e9\n".encode("latin-1"))
        self.assertEqual(self.members(table, "directeur"), ["andr\u00e9"])


class ShippedFileTests(SynchronousTestCase):
    def test_the_file_that_we_ship_is_without_fault(self) -> None:
        report = Reports()
        path = os.path.join(os.path.dirname(__file__), "..", "..", "etc", "aliases")
        table = Aliases([path], report, Clock().seconds)
        table.refresh()
        self.assertEqual(report, [])
        nobody = table.find("nobody")
        assert nobody is not None
        self.assertTrue(nobody.discards)
        self.assertIsNotNone(table.find("MAILER-DAEMON"))
