from __future__ import annotations

from lanmail.address import Address
from lanmail.delivery import found
from lanmail.delivery.routes import Domains
from lanmail.smtp.grammar import Malformed
from lanmail.status import Status, TemporaryFailure
from tests.delivery.crossroads import LOGGED_IN, NEIGHBOUR, STRANGER, RouterTestCase


class LocalTests(RouterTestCase):
    def test_a_user_in_any_case_at_any_domain_of_ours(self) -> None:
        house = self.house("ann")
        for written in ("<ann@lan.example>", "<ANN@LAN.EXAMPLE>", "<ann@srv.lan.example>", "<ann>", "<ann@localhost>"):
            self.assertEqual(self.names(house, written, STRANGER), ["ann"], written)

    def test_an_address_literal_of_ours(self) -> None:
        house = self.house("ann")
        self.assertEqual(self.names(house, "<ann@[192.168.1.1]>", STRANGER), ["ann"])
        self.assertEqual(self.names(house, "<ann@[IPv6:fd00:0::1]>", STRANGER), ["ann"])
        self.assertEqual(self.refusal(house, "<ann@[192.168.1.2]>", STRANGER)[:9], "554 5.7.1")

    def test_an_unknown_user_is_refused_in_postfix_s_words(self) -> None:
        self.assertEqual(
            self.refusal(self.house("ann"), "<bob@lan.example>"),
            "550 5.1.1 <bob@lan.example>: Recipient address rejected: User unknown in local recipient table",
        )

    def test_the_copy_names_the_recipient_as_it_was_written_and_completed(self) -> None:
        (to,) = self.route(self.house("ann"), "<Ann>").mailboxes
        self.assertEqual((to.original, to.delivered_to), (Address("Ann", "lan.example"),) * 2)

    def test_a_tag_leads_to_the_user_and_stays_in_the_address(self) -> None:
        house = self.house("ann", "jean-luc", recipient_delimiter="+-")
        (to,) = self.route(house, "<ann+lists@lan.example>").mailboxes
        self.assertEqual((to.user.name, str(to.delivered_to)), ("ann", "ann+lists@lan.example"))
        self.assertEqual(self.names(house, "<jean-luc@lan.example>"), ["jean-luc"])
        self.assertEqual(self.refusal(house, "<jean-paul@lan.example>")[:9], "550 5.1.1")

    def test_without_a_delimiter_a_plus_is_part_of_the_name(self) -> None:
        self.assertEqual(self.refusal(self.house("ann"), "<ann+x@lan.example>")[:9], "550 5.1.1")

    def test_a_name_service_that_does_not_answer_means_later(self) -> None:
        house = self.house("ann")
        house.users.trouble = TemporaryFailure(Status(451, "4.3.0", "later"))
        self.assertEqual(self.refusal(house, "<ann@lan.example>"), "451 4.3.0 later")

    def test_a_full_mailbox_means_later(self) -> None:
        sizes = {"ann": 100, "bob": 99}
        house = self.house(
            "ann", "bob", aliases="both: bob, ann\n", mailbox_size_limit=100, mailbox_size=lambda user: sizes[user.name]
        )
        self.assertEqual(self.names(house, "<bob@lan.example>"), ["bob"])
        full = "452 4.2.2 <{0}@lan.example>: Recipient address rejected: Mailbox is full"
        self.assertEqual(self.refusal(house, "<ann@lan.example>"), full.format("ann"))
        # One full mailbox does not keep a list from everybody else: what it cannot take waits here.
        self.assertEqual(self.names(house, "<both@lan.example>"), ["bob", "ann"])
        sizes["bob"] = 101
        self.assertEqual(self.refusal(house, "<both@lan.example>"), full.format("both"))

    def test_a_mailbox_that_cannot_be_looked_at_means_later(self) -> None:
        def broken(user: object) -> int:
            raise OSError(5, "Input/output error")

        house = self.house("ann", mailbox_size_limit=100, mailbox_size=broken)
        self.assertEqual(self.refusal(house, "<ann@lan.example>")[:9], "451 4.3.0")


# Every way in which somebody ever asked a server to pass on mail that is not its own, as RCPT's argument.
RELAYING = [
    "<user@elsewhere.example>",
    "user@elsewhere.example",
    "<user%elsewhere.example@lan.example>",
    "<user%elsewhere.example>",
    '<"user%elsewhere.example"@lan.example>',
    '<"user%elsewhere.example">',
    '<"user@elsewhere.example"@lan.example>',
    '<"user@elsewhere.example">',
    "<user@elsewhere.example@lan.example>",
    "<user@elsewhere.example@[192.168.1.1]>",
    "<user%elsewhere.example@[192.168.1.1]>",
    "<@lan.example:user@elsewhere.example>",
    "<@lan.example,@srv.lan.example:user@elsewhere.example>",
    "<@[192.168.1.1]:user@elsewhere.example>",
    "<@elsewhere.example:user%other.example@lan.example>",
    "<elsewhere.example!user@lan.example>",
    "<elsewhere.example!user>",
    "<elsewhere.example!user%other.example@lan.example>",
    "<user%elsewhere.example@other.example>",
    "<elsewhere.example!user@other.example>",
    "<user%elsewhere.example%lan.example@lan.example>",
    '<"elsewhere.example!user"@lan.example>',
    "<lan.example!elsewhere.example!user@lan.example>",
    "<user@[203.0.113.1]>",
    "<user@[IPv6:2001:db8::1]>",
    "<user@lan.example.elsewhere.example>",
    "<user@elsewhere.lan.example>",
    "<ann%lan.example@lan.example>",
    "<postmaster@elsewhere.example>",
]


class RelayTests(RouterTestCase):
    def test_a_stranger_is_denied_every_way_of_relaying(self) -> None:
        house = self.house("ann", "user", aliases="postmaster: ann\n", recipient_delimiter="+")
        self.assertGreaterEqual(len(RELAYING), 20)
        for written in RELAYING:
            with self.subTest(written):
                try:
                    told = self.refusal(house, written, STRANGER)
                except Malformed as refused:
                    self.assertEqual(refused.status.code, 501)
                    continue
                self.assertRegex(told, r"\A554 5\.7\.1 <.*>: Relay access denied\Z")

    def test_a_permitted_client_is_told_that_mail_does_not_leave(self) -> None:
        house = self.house("ann", "user")
        for client in (NEIGHBOUR, LOGGED_IN):
            for written in RELAYING:
                if written == "<ann%lan.example@lan.example>":
                    continue
                with self.subTest(written):
                    try:
                        told = self.refusal(house, written, client)
                    except Malformed as refused:
                        self.assertEqual(refused.status.code, 501)
                        continue
                    self.assertRegex(told, r"\A550 5\.4\.4 <.*>: .*mail does not leave this network\Z")

    def test_a_permitted_client_s_detour_that_ends_here_is_followed(self) -> None:
        house = self.house("ann")
        for written in (
            "<ann%lan.example@lan.example>",
            "<lan.example!ann@srv.lan.example>",
            "<ann@localhost@lan.example>",
        ):
            self.assertEqual(self.names(house, written), ["ann"], written)
        self.assertEqual(self.refusal(house, "<bob%lan.example@lan.example>")[:9], "550 5.1.1")

    def test_a_source_route_to_us_is_ignored(self) -> None:
        self.assertEqual(self.names(self.house("ann"), "<@elsewhere.example:ann@lan.example>", STRANGER), ["ann"])

    def test_odd_rests_of_a_detour_are_nobody(self) -> None:
        house = self.house("ann")
        for written in (
            "<%lan.example@lan.example>",
            "<lan.example!@lan.example>",
            '<"@"@lan.example>',
            "<ann%@lan.example>",
        ):
            for client, status in ((STRANGER, "554 5.7.1"), (NEIGHBOUR, "550 5.4.4")):
                self.assertEqual(self.refusal(house, written, client)[:9], status, written)


class AliasTests(RouterTestCase):
    def test_an_alias_comes_before_a_user(self) -> None:
        house = self.house("ann", "bob", aliases="ann: bob\n")
        self.assertEqual(self.names(house, "<ann@lan.example>"), ["bob"])

    def test_members_are_named_in_their_copies(self) -> None:
        house = self.house("ann", "bob", aliases="Sales: ann, bob@srv.lan.example\n")
        route = self.route(house, "<sales@lan.example>")
        self.assertEqual(
            [(str(to.original), str(to.delivered_to)) for to in route.mailboxes],
            [("sales@lan.example", "ann@lan.example"), ("sales@lan.example", "bob@srv.lan.example")],
        )

    def test_aliases_of_aliases_and_one_mailbox_each(self) -> None:
        house = self.house("ann", "bob", "eve", aliases="all: staff, bosses, ann\nstaff: ann, bob\nbosses: eve, Ann\n")
        self.assertEqual(self.names(house, "<all@lan.example>"), ["ann", "bob", "eve"])

    def test_an_alias_that_names_itself_means_the_mailbox(self) -> None:
        house = self.house("ann", "bob", aliases="ann: ann, bob\nbob: \\bob\n")
        self.assertEqual(self.names(house, "<ann@lan.example>"), ["ann", "bob"])

    def test_a_backslash_passes_by_the_alias_of_that_name(self) -> None:
        house = self.house("ann", "bob", aliases="ann: bob\nx: \\ann\n")
        self.assertEqual(self.names(house, "<x@lan.example>"), ["ann"])

    def test_a_loop_ends_and_is_refused_when_nothing_else_is_in_it(self) -> None:
        house = self.house("ann", aliases="a: b\nb: a\nc: d, ann\nd: c\n")
        self.assertEqual(self.refusal(house, "<a@lan.example>")[:9], "550 5.4.6")
        self.assertEqual(self.names(house, "<c@lan.example>"), ["ann"])
        self.assertFalse([line for line in house.report if "not delivered" in line])

    def test_an_alias_for_a_tag_is_more_exact_than_one_without(self) -> None:
        house = self.house("ann", "bob", "eve", aliases="ann: bob\nann+x: eve\n", recipient_delimiter="+")
        self.assertEqual(self.names(house, "<ann+x@lan.example>"), ["eve"])
        self.assertEqual(self.names(house, "<ann+y@lan.example>"), ["bob"])

    def test_an_alias_takes_tags_and_a_member_keeps_its_own(self) -> None:
        house = self.house("ann", aliases="list: ann+lists\n", recipient_delimiter="+")
        (to,) = self.route(house, "<list+x@lan.example>").mailboxes
        self.assertEqual((to.user.name, str(to.delivered_to)), ("ann", "ann+lists@lan.example"))

    def test_a_member_s_domain_may_be_written_in_any_way(self) -> None:
        aliases = "".join(f"a{n}: ann@{domain}\n" for n, domain in enumerate(("[IPv6:FD00::1]", "LAN.Example.")))
        house = self.house("ann", "bob", aliases=aliases + "b: bob@b\u00fcro.example\n")
        house.rebuild(Domains("lan.example", {"lan.example", "xn--bro-hoa.example"}, {"192.168.1.1", "fd00::1"}))
        for name, member in (("a0", "ann"), ("a1", "ann"), ("b", "bob")):
            self.assertEqual(self.names(house, f"<{name}@lan.example>"), [member], name)

    def test_members_elsewhere_do_not_get_it_and_alone_are_refused(self) -> None:
        house = self.house("ann", aliases="out: x@elsewhere.example\nmixed: ann, x@elsewhere.example\n")
        self.assertRegex(
            self.refusal(house, "<out@lan.example>"), r"\A550 5\.4\.4 .*mail does not leave this network\Z"
        )
        self.assertEqual(self.names(house, "<mixed@lan.example>"), ["ann"])
        self.assertIn("alias mixed@lan.example: not delivered to x@elsewhere.example", house.report[-1])

    def test_unknown_members_do_not_stop_the_others_and_alone_are_unknown(self) -> None:
        house = self.house("ann", aliases="some: ann, nobody\nnone: nobody, neither\n")
        self.assertEqual(self.names(house, "<some@lan.example>"), ["ann"])
        self.assertIn("not delivered to nobody@lan.example", house.report[-1])
        self.assertEqual(self.refusal(house, "<none@lan.example>")[:9], "550 5.1.1")

    def test_an_alias_for_a_file_or_a_program_is_refused_even_beside_people(self) -> None:
        house = self.house("ann", aliases='a: ann, "|/bin/cat"\nb: /var/mail/archive\nc: ann, b\n')
        for name in "abc":
            self.assertEqual(self.refusal(house, f"<{name}@lan.example>")[:9], "550 5.3.5", name)

    def test_dev_null_discards(self) -> None:
        house = self.house("ann", aliases="nobody: /dev/null\nx: ann, nobody\n")
        route = self.route(house, "<nobody@lan.example>")
        self.assertEqual((route.mailboxes, route.discarded), ((), True))
        route = self.route(house, "<x@lan.example>")
        self.assertEqual(([to.user.name for to in route.mailboxes], route.discarded), (["ann"], True))

    def test_a_list_that_cannot_be_read_means_later_unless_somebody_is_left(self) -> None:
        house = self.house("ann", aliases="a: :include:/nowhere\nb: ann, :include:/nowhere\n")
        self.assertEqual(self.refusal(house, "<a@lan.example>")[:9], "451 4.3.5")
        self.assertEqual(self.names(house, "<b@lan.example>"), ["ann"])

    def test_a_changed_file_counts_after_a_second(self) -> None:
        house = self.house("ann", "bob", aliases="x: ann\n")
        self.assertEqual(self.names(house, "<x@lan.example>"), ["ann"])
        house.write_aliases("x: bob, ann\n")
        house.clock.advance(1)
        self.assertEqual(self.names(house, "<x@lan.example>"), ["bob", "ann"])

    def test_how_many_addresses_and_how_deep_is_bounded(self) -> None:
        self.patch(found, "MAX_ADDRESSES", 20)
        self.patch(found, "MAX_DEPTH", 5)
        chain = "".join(f"c{n}: c{n + 1}\n" for n in range(8))
        house = self.house("ann", "c8", aliases=f"wide: {', '.join(f'u{n}' for n in range(30))}\n{chain}")
        self.assertEqual(self.refusal(house, "<wide@lan.example>")[:9], "550 5.3.5")
        self.assertEqual(self.refusal(house, "<c0@lan.example>")[:9], "550 5.3.5")
        self.assertEqual(self.names(house, "<c4@lan.example>"), ["c8"])


class PostmasterTests(RouterTestCase):
    ASKED = (
        "<postmaster>",
        "<Postmaster@lan.example>",
        "<abuse@lan.example>",
        "<MAILER-DAEMON@lan.example>",
        "<root@lan.example>",
    )

    def test_root_s_mail_goes_where_the_alias_says(self) -> None:
        house = self.house("ann", "bob", aliases="root: ann\nabuse: bob\n", admin_user="bob")
        self.assertEqual(
            [self.names(house, asked, STRANGER) for asked in self.ASKED], [["ann"], ["ann"], ["bob"], ["ann"], ["ann"]]
        )

    def test_else_to_admin_user(self) -> None:
        house = self.house("ann", admin_user="ann")
        for asked in self.ASKED:
            self.assertEqual(self.names(house, asked, STRANGER), ["ann"], asked)

    def test_admin_user_may_be_an_alias(self) -> None:
        house = self.house("ann", "bob", aliases="admins: ann, bob\n", admin_user="admins")
        for asked in self.ASKED:
            self.assertEqual(self.names(house, asked, STRANGER), ["ann", "bob"], asked)

    def test_else_to_the_mailbox_file_root_with_a_warning(self) -> None:
        for options in ({}, {"admin_user": "gone"}, {"admin_user": "root"}, {"admin_user": "postmaster"}):
            house = self.house("ann", **options)
            for asked in self.ASKED:
                del house.report[:]
                self.assertEqual(self.names(house, asked, STRANGER), ["root"], (asked, options))
                advice = f"admin_user, {options['admin_user']}, is nobody here" if options else "set admin_user"
                self.assertTrue(any(advice in line for line in house.report), house.report)

    def test_postmaster_alone_is_ours_even_where_myorigin_is_not(self) -> None:
        house = self.house("ann", admin_user="ann")
        house.rebuild(Domains("elsewhere.example", {"lan.example"}))
        self.assertEqual(self.names(house, "<postmaster>", STRANGER), ["ann"])
        self.assertEqual(self.refusal(house, "<ann>", STRANGER)[:9], "554 5.7.1")

    def test_an_alias_of_root_that_leads_to_postmaster_ends(self) -> None:
        house = self.house("ann", aliases="root: postmaster\npostmaster: root\n")
        self.assertEqual(self.names(house, "<postmaster>"), ["root"])
