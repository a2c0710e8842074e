"""Routes beyond aliases: .forward files, the owners of lists, luser_relay; and the words for the way to a mailbox."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from lanmail.address import Address
from lanmail.delivery import found, members
from lanmail.delivery.routes import Client
from lanmail.status import DeliveryFailure, Status, TemporaryFailure
from tests.delivery.crossroads import STRANGER, Crossroads, RouterTestCase

LATER = TemporaryFailure(Status(451, "4.3.0", "later"))


class ForwardTests(RouterTestCase):
    def rules(self, house: Crossroads, written: str) -> list[tuple[str, str]]:
        return [(to.user.name, to.rule) for to in self.route(house, written).mailboxes]

    def test_mail_goes_where_its_reader_says(self) -> None:
        house = self.house("ann", "bob", forwards={"ann": "bob\n"})
        (to,) = self.route(house, "<ann@lan.example>").mailboxes
        self.assertEqual(
            (to.user.name, str(to.original), str(to.delivered_to), to.rule, to.expanded, to.sender),
            ("bob", "ann@lan.example", "bob@lan.example", ".forward of ann", False, None),
        )

    def test_a_user_who_stands_in_their_own_keeps_a_copy(self) -> None:
        for own in ("\\ann", "ann", "Ann@srv.lan.example"):
            house = self.house("ann", "bob", forwards={"ann": f"bob, {own}"})
            self.assertEqual(self.names(house, "<ann@lan.example>"), ["bob", "ann"], own)
            self.assertEqual(house.report, [])

    def test_members_go_through_the_aliases_and_their_own_files_again(self) -> None:
        house = self.house(
            "ann", "bob", "eve", "joe", aliases="team: bob, eve\n", forwards={"ann": "team", "bob": "joe"}
        )
        self.assertEqual(
            self.rules(house, "<ann@lan.example>"),
            [
                ("joe", ".forward of ann, alias team, .forward of bob"),
                ("eve", ".forward of ann, alias team"),
            ],
        )

    def test_an_alias_leads_to_a_user_s_forward_but_a_backslash_to_the_mailbox(self) -> None:
        house = self.house("ann", "bob", aliases="x: ann\ny: \\ann\nann: ann\n", forwards={"ann": "bob"})
        self.assertEqual(self.names(house, "<x@lan.example>"), ["bob"])
        self.assertEqual(self.names(house, "<ann@lan.example>"), ["bob"])
        self.assertEqual(self.names(house, "<y@lan.example>"), ["ann"])

    def test_an_alias_of_a_user_s_own_in_the_file_means_the_mailbox(self) -> None:
        house = self.house("ann", "bob", aliases="boss: ann\n", forwards={"ann": "boss, bob"})
        for asked in ("boss", "ann"):
            self.assertEqual(self.names(house, f"<{asked}@lan.example>"), ["ann", "bob"], asked)

    def test_a_circle_of_two_ends_in_the_first_one_s_mailbox_and_says_so(self) -> None:
        house = self.house("ann", "bob", forwards={"ann": "bob", "bob": "ann"})
        self.assertEqual(self.rules(house, "<ann@lan.example>"), [("ann", ".forward of ann, .forward of bob")])
        self.assertEqual(
            house.report,
            ["warning: a loop: .forward of ann, .forward of bob leads back to ann, whose mailbox gets the mail"],
        )
        self.assertEqual(self.names(house, "<bob@lan.example>"), ["bob"])

    def test_who_is_reached_twice_gets_it_once(self) -> None:
        house = self.house(
            "ann", "bob", "eve", aliases="all: ann, bob, eve\n", forwards={"ann": "eve", "bob": "ann, bob"}
        )
        self.assertEqual(self.names(house, "<all@lan.example>"), ["eve", "bob"])
        house = self.house("ann", "bob", aliases="all: bob, ann\n", forwards={"ann": "bob"})
        self.assertEqual(self.names(house, "<all@lan.example>"), ["bob"])

    def test_members_elsewhere_are_left_out_and_with_none_left_it_stays(self) -> None:
        house = self.house("ann", "bob", forwards={"ann": "bob, ann@elsewhere.example", "bob": "bob@elsewhere.example"})
        self.assertEqual(self.names(house, "<bob@lan.example>"), ["bob"])
        self.assertEqual(
            house.report.pop(),
            "warning: .forward of bob: not delivered to bob@elsewhere.example, who are unknown or in other domains;"
            " the mailbox gets the mail",
        )
        house.users.known["joe"] = house.users.known["bob"]
        house.forwards.texts = {"ann": "joe, ann@elsewhere.example, nobody"}
        self.assertEqual(self.names(house, "<ann@lan.example>"), ["bob"])
        self.assertIn("not delivered to ann@elsewhere.example, nobody@lan.example, who", house.report.pop())

    def test_what_is_not_followed_leaves_the_mail_in_the_mailbox_as_well(self) -> None:
        for line in (
            '"|/usr/bin/procmail"',
            "|vacation ann",
            "/home/ann/mail",
            ":include:/home/ann/list",
            "no address",
        ):
            house = self.house("ann", "bob", forwards={"ann": f"{line}\nbob\n"})
            self.assertEqual(self.names(house, "<ann@lan.example>"), ["bob", "ann"], line)
            house = self.house("ann", "bob", forwards={"ann": line})
            self.assertEqual(self.names(house, "<ann@lan.example>"), ["ann"], line)

    def test_an_alias_to_a_program_in_it_refuses_nobody_s_mail(self) -> None:
        house = self.house(
            "ann",
            "bob",
            aliases="bot: bob, |bot\nlost: :include:/nowhere\nx: ann, bot\n",
            forwards={"ann": "bot, lost"},
        )
        self.assertEqual(self.names(house, "<ann@lan.example>"), ["bob", "ann"])
        self.assertIn(
            "warning: .forward of ann: alias bot leads to files or programs; alias lost cannot be read whole;"
            " the mailbox gets the mail",
            house.report,
        )
        # Elsewhere that alias is refused, whoever expanded it first.
        self.assertEqual(self.refusal(house, "<x@lan.example>")[:9], "550 5.3.5")

    def test_dev_null_throws_it_away_as_its_reader_wishes(self) -> None:
        house = self.house("ann", "bob", forwards={"ann": "/dev/null", "bob": "/dev/null, bob"})
        route = self.route(house, "<ann@lan.example>")
        self.assertEqual((route.mailboxes, route.discarded), ((), True))
        self.assertEqual(self.names(house, "<bob@lan.example>"), ["bob"])

    def test_an_empty_one_forwards_nothing(self) -> None:
        house = self.house("ann", forwards={"ann": "# nothing\n\n"})
        self.assertEqual(self.names(house, "<ann@lan.example>"), ["ann"])

    def test_a_home_that_does_not_answer_means_later_not_the_mailbox(self) -> None:
        house = self.house("ann", "bob", aliases="all: bob, ann\n")
        house.forwards.trouble["ann"] = LATER
        for asked in ("ann", "all"):
            self.assertEqual(self.refusal(house, f"<{asked}@lan.example>"), "451 4.3.0 later")
        self.assertEqual(self.names(house, "<bob@lan.example>"), ["bob"])

    def test_a_tag_has_a_file_of_its_own_and_goes_no_further(self) -> None:
        house = self.house(
            "ann", "bob", "eve", forwards={"ann": "bob", "ann+x": "eve, ann, ann+y"}, recipient_delimiter="+"
        )
        (to,) = self.route(house, "<ann+y@lan.example>").mailboxes
        self.assertEqual((to.rule, str(to.delivered_to)), (".forward of ann", "bob@lan.example"))
        self.assertEqual(
            self.rules(house, "<ann+x@lan.example>"),
            [("eve", ".forward+x of ann"), ("bob", ".forward+x of ann, .forward of ann")],
        )

    def test_root_s_mail_follows_whoever_reads_it_and_ends(self) -> None:
        house = self.house("ann", "bob", admin_user="ann", forwards={"ann": "bob, postmaster"})
        self.assertEqual(
            self.rules(house, "<postmaster>"),
            [
                ("bob", "root for postmaster, admin_user, .forward of ann"),
                ("ann", "root for postmaster, admin_user, .forward of ann, root for postmaster, admin_user"),
            ],
        )

    def test_an_alias_without_a_reader_is_looked_up_in_no_home(self) -> None:
        house = self.house("ann", aliases="x: /dev/null\n", admin_user=None)
        self.route(house, "<x@lan.example>")
        self.route(house, "<root@lan.example>")
        self.assertEqual(house.forwards.asked, [])


class BoundsTests(RouterTestCase):
    def test_the_others_have_their_turn_between_the_many_members_of_a_list(self) -> None:
        names = [f"u{number}" for number in range(2 * members.AT_ONCE + 5)]
        house = self.house(*names, aliases=f"all: {', '.join(names)}\n")
        turns: list[Deferred[None]] = []

        def in_thread(work: Any, *arguments: Any) -> Deferred[None]:
            turns.append(Deferred())
            return turns[-1]

        house.aliases.refresh()
        self.patch(house.router._members, "_in_thread", in_thread)
        asked = Deferred.fromCoroutine(house.router.recipient(Address("all", "lan.example"), STRANGER))
        for number in range(2):
            self.assertNoResult(asked)
            self.assertEqual(len(turns), number + 1)
            turns[number].callback(None)
        self.assertEqual(len(self.successResultOf(asked).mailboxes), len(names))

    def test_one_user_s_file_cannot_break_a_list(self) -> None:
        self.patch(found, "MAX_ADDRESSES", 20)
        many = ", ".join(f"u{n}" for n in range(30))
        house = self.house("ann", "bob", "eve", aliases="all: ann, bob, eve\n", forwards={"ann": many, "bob": "eve"})
        self.assertEqual(self.names(house, "<all@lan.example>"), ["ann", "bob", "eve"])
        self.assertTrue(house.report[0].startswith("warning: .forward of ann: it leads to too many addresses; not"))
        self.assertTrue(house.report[0].endswith("; the mailbox gets the mail"))

    def test_a_file_that_leads_far_keeps_the_mail_from_nobody_else_on_the_list(self) -> None:
        # With tags, one user alone has as many files as they please, and so a chain of any length.
        self.patch(found, "MAX_DEPTH", 5)
        for length in range(1, 7):
            chain = {f"ann+{n}": f"ann+{n + 1}" for n in range(1, length)}
            forwards = {"ann": "ann+1", **chain, f"ann+{length}": "staff, joe", "joe": "\\joe, sue"}
            house = self.house(
                *("ann", "bob", "eve", "joe", "sue"),
                aliases="all: ann, staff, joe\nstaff: bob, eve\n",
                forwards=forwards,
                recipient_delimiter="+",
            )
            got = self.names(house, "<all@lan.example>")
            self.assertEqual(sorted({*got, "ann"}), ["ann", "bob", "eve", "joe", "sue"], length)

    def test_of_one_user_few_files_count_and_little_is_said(self) -> None:
        # Each tag is looked for in a home, by whoever writes to the list, and each circle is a line in the log.
        forwards = {f"ann+{n}": ", ".join(f"ann+{m}, Ann+{m}" for m in range(50) if m != n) for n in range(50)}
        forwards["ann"] = ", ".join(forwards)
        house = self.house("ann", "bob", aliases="all: ann, bob\n", forwards=forwards, recipient_delimiter="+")
        self.assertEqual(self.names(house, "<all@lan.example>"), ["ann", "bob"])
        self.assertLessEqual(len({asked for asked in house.forwards.asked if asked != "bob"}), found.MAX_FILES)
        self.assertLessEqual(len(house.report), found.MAX_WARNINGS)

    def test_what_a_list_loses_is_said_of_the_list_whoever_s_file_leads_to_it_as_well(self) -> None:
        house = self.house(
            *("ann", "bob"),
            aliases="all: ann, bob, staff\nstaff: nobody\nx: ann, inner\ninner: bot\nbot: |bot\n",
            forwards={"ann": "staff, inner, \\ann"},
        )
        self.assertEqual(self.names(house, "<all@lan.example>"), ["ann", "bob"])
        self.assertIn("warning: alias all@lan.example: not delivered to nobody@lan.example, who", house.report[-1])
        self.assertEqual(self.refusal(house, "<x@lan.example>")[:9], "550 5.3.5")

    def test_a_chain_too_long_ends_in_the_mailbox_where_it_became_so(self) -> None:
        self.patch(found, "MAX_DEPTH", 5)
        forwards = {f"u{n}": f"u{n + 1}" for n in range(10)}
        house = self.house(*forwards, "u10", forwards=forwards)
        self.assertEqual(self.names(house, "<u0@lan.example>"), ["u5"])

    def test_many_who_forward_to_the_list_that_they_are_on_end_soon(self) -> None:
        people = [f"p{n}" for n in range(60)]
        house = self.house(*people, aliases=f"all: {', '.join(people)}\n", forwards=dict.fromkeys(people, "all"))
        self.assertEqual(sorted(self.names(house, "<all@lan.example>")), sorted(people))
        self.assertLess(len(house.forwards.asked), 10_000)

    def test_a_rule_is_printable_and_not_endless(self) -> None:
        aliases = '"a\\\x1b[31m": ann\nb0: ann\n' + "".join(
            f"b{n}: {'b' * 50}{n - 1}\n{'b' * 50}{n - 1}: b{n - 1}\n" for n in range(1, 20)
        )
        house = self.house("ann", aliases=aliases)
        (to,) = self.route(house, "<b19@lan.example>").mailboxes
        self.assertEqual((len(to.rule), to.rule[:9], to.rule[-1]), (found.MAX_RULE, "alias b19", "\u2026"))
        self.assertEqual(found.in_words(("alias a\x1b[31m\n",)), "alias a?[31m?")

    @settings(max_examples=150, deadline=None)
    @given(st.data())
    def test_whatever_aliases_and_files_say_it_ends_and_everybody_gets_it_once(self, data: st.DataObject) -> None:
        users, lists = ["ann", "bob", "eve", "joe"], ["x", "y", "z"]
        target = st.sampled_from(
            [*users, *lists, "\\ann", "\\x", "nobody", "a@elsewhere.example", "|prog", "/dev/null"]
        )
        texts = st.lists(target, min_size=1, max_size=4).map(", ".join)
        aliases = data.draw(st.dictionaries(st.sampled_from([*lists, "ann", "owner-x"]), texts))
        forwards = data.draw(st.dictionaries(st.sampled_from(users), texts))
        luser = data.draw(st.sampled_from(["", "ann", "x", "$local", "a@elsewhere.example"]))
        house = self.house(
            *users,
            aliases="".join(f"{name}: {text}\n" for name, text in aliases.items()),
            forwards=forwards,
            luser_relay=luser,
        )
        for asked in (*users, *lists, "nobody"):
            try:
                route = self.route(house, f"<{asked}@lan.example>")
            except DeliveryFailure as failure:
                # Nobody's mail is refused by what users say, only by what the administrator said.
                self.assertTrue(asked not in users or asked in aliases, failure)
                continue
            names = [to.user.name for to in route.mailboxes]
            self.assertEqual(len(names), len(set(names)))
            self.assertTrue(names or route.discarded)


class OwnerTests(RouterTestCase):
    LISTS = "staff: ann, students\nowner-staff: nel\nstudents: bob, school\nowner-students: ann\nschool: eve\n"

    def test_the_owner_of_the_innermost_list_that_has_one_hears_of_trouble(self) -> None:
        house = self.house("ann", "bob", "eve", "nel", aliases=self.LISTS)
        self.assertEqual(
            [(to.user.name, str(to.sender), to.rule) for to in self.route(house, "<Staff@lan.example>").mailboxes],
            [
                ("ann", "owner-staff@lan.example", "alias staff"),
                ("bob", "owner-students@lan.example", "alias staff, alias students"),
                ("eve", "owner-students@lan.example", "alias staff, alias students, alias school"),
            ],
        )

    def test_a_list_without_one_leaves_the_sender_alone(self) -> None:
        house = self.house("ann", "eve", aliases="school: eve, ann\n", forwards={"ann": "eve"})
        for asked in ("<school@lan.example>", "<ann@lan.example>"):
            self.assertEqual({to.sender for to in self.route(house, asked).mailboxes}, {None})

    def test_an_owner_has_no_owner(self) -> None:
        house = self.house("nel", aliases=self.LISTS + "owner-owner-staff: nel\n")
        (to,) = self.route(house, "<owner-staff@lan.example>").mailboxes
        self.assertEqual((to.user.name, to.sender, to.rule), ("nel", None, "alias owner-staff"))

    def test_what_a_member_forwards_is_still_the_list_s(self) -> None:
        house = self.house("ann", "bob", "nel", aliases="list: ann\nowner-list: nel\n", forwards={"ann": "bob"})
        (to,) = self.route(house, "<list@lan.example>").mailboxes
        self.assertEqual((to.user.name, str(to.sender)), ("bob", "owner-list@lan.example"))

    def test_where_a_hyphen_begins_a_tag_it_does_not_in_a_list_s_names(self) -> None:
        house = self.house("owner", "ann", aliases="ann: ann\n", recipient_delimiter="+-")
        self.assertEqual(self.names(house, "<ann-x@lan.example>"), ["ann"])
        for name in ("owner-ann", "Owner-ann", "ann-request", "ann-REQUEST"):
            self.assertEqual(self.refusal(house, f"<{name}@lan.example>")[:9], "550 5.1.1", name)
        house = self.house("owner", "ann", recipient_delimiter="+")
        self.assertEqual(self.names(house, "<owner+ann@lan.example>"), ["owner"])

    def test_several_members_anywhere_on_the_way_make_it_an_expansion(self) -> None:
        house = self.house("ann", "bob", aliases="one: ann\nmany: bob, one\nnull: ann, /dev/null\n")
        for asked, expanded in (("one", [False]), ("many", [True, True]), ("null", [True]), ("ann", [False])):
            mailboxes = self.route(house, f"<{asked}@lan.example>").mailboxes
            self.assertEqual([to.expanded for to in mailboxes], expanded, asked)
        house = self.house("ann", "bob", forwards={"ann": "\\ann, bob"})
        self.assertEqual([to.expanded for to in self.route(house, "<ann@lan.example>").mailboxes], [True, True])


class LuserRelayTests(RouterTestCase):
    def to(self, house: Crossroads, written: str, client: Client = STRANGER) -> tuple[str, str, str]:
        (to,) = self.route(house, written, client).mailboxes
        return to.user.name, str(to.delivered_to), to.rule

    def test_mail_for_nobody_goes_to_somebody(self) -> None:
        house = self.house("ann", "bob", luser_relay="ann")
        self.assertEqual(self.to(house, "<who@lan.example>"), ("ann", "ann@lan.example", "luser_relay"))
        self.assertEqual(self.names(house, "<bob@lan.example>"), ["bob"])

    def test_it_may_be_an_alias_and_follows_a_forward(self) -> None:
        house = self.house("ann", "bob", aliases="lost: ann\n", forwards={"ann": "bob"}, luser_relay="lost")
        self.assertEqual(self.to(house, "<who@lan.example>")[::2], ("bob", "luser_relay, alias lost, .forward of ann"))

    def test_what_was_asked_for_can_stand_in_it(self) -> None:
        house = self.house("admin", luser_relay="admin+$local", recipient_delimiter="+")
        self.assertEqual(self.to(house, "<Who@lan.example>"), ("admin", "admin+who@lan.example", "luser_relay"))

    def test_members_that_nobody_has_go_there_too(self) -> None:
        house = self.house("ann", "bob", aliases="staff: bob, gone\n", forwards={"bob": "left"}, luser_relay="ann")
        self.assertEqual(self.names(house, "<staff@lan.example>"), ["ann"])

    def test_one_that_leads_nowhere_or_elsewhere_refuses(self) -> None:
        for relay, status in (
            ("nobody", "550 5.1.1"),
            ("$local", "550 5.1.1"),
            ("$user@elsewhere.example", "550 5.4.4"),
        ):
            house = self.house("ann", luser_relay=relay)
            self.assertEqual(self.refusal(house, "<who@lan.example>")[:9], status, relay)

    def test_postmaster_is_nobody_s_lost_mail(self) -> None:
        house = self.house("ann", "bob", admin_user="bob", luser_relay="ann")
        self.assertEqual(self.names(house, "<postmaster@lan.example>"), ["bob"])

    def test_a_loop_of_aliases_is_not_unknown(self) -> None:
        house = self.house("ann", aliases="a: b\nb: a\n", luser_relay="ann")
        self.assertEqual(self.refusal(house, "<a@lan.example>")[:9], "550 5.4.6")
