"""Each mailbox's copy: its head, and what of the sender's wishes for reports goes on to it (RFC 3461, 5.2.7)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lanmail.address import NULL_SENDER, Address
from lanmail.delivery.copies import copy_of, one_each
from lanmail.delivery.found import Destination
from lanmail.interfaces import User
from lanmail.spool.entries import Message

STAFF = Address("staff", "x")
OWNER = Address("owner-staff", "x")
JULIEN = Address("julien", "x")


def to(name: str, original: Address | None = None, *, owner: bool = False, expanded: bool = False) -> Destination:
    address = Address(name, "x")
    return Destination(
        User(name, 1000, 1000), original or address, address, OWNER if owner else None, "alias staff", expanded
    )


class OneEachTests(SynchronousTestCase):
    def chosen(self, *ways: tuple[Destination, str, str]) -> list[tuple[str, str, str]]:
        return [(way.user.name, str(way.original), notify) for way, notify, _ in one_each(ways)]

    def test_the_first_recipient_that_leads_to_a_mailbox_is_named_in_it(self) -> None:
        self.assertEqual(
            self.chosen((to("nel"), "", ""), (to("zoe"), "", ""), (to("nel", STAFF), "", "")),
            [("nel", "nel@x", ""), ("zoe", "zoe@x", "")],
        )

    def test_unless_a_later_one_wants_to_hear_more_of_it(self) -> None:
        self.assertEqual(self.chosen((to("nel"), "NEVER", ""), (to("nel", STAFF), "", "")), [("nel", "staff@x", "")])
        self.assertEqual(
            self.chosen((to("nel"), "", ""), (to("nel", STAFF), "SUCCESS", ""), (to("nel"), "SUCCESS,DELAY", "")),
            [("nel", "staff@x", "SUCCESS")],
        )

    def test_a_wish_goes_with_the_mail_through_an_alias_of_one(self) -> None:
        self.assertEqual(
            one_each([(to("nel", STAFF), "SUCCESS,DELAY", "rfc822;a@b")]),
            [(to("nel", STAFF), "SUCCESS,DELAY", "rfc822;a@b")],
        )

    def test_of_an_alias_of_many_one_success_is_told_and_each_failure(self) -> None:
        ways = [(to(name, STAFF, expanded=True), "SUCCESS,FAILURE", "") for name in ("nel", "zoe")]
        self.assertEqual(self.chosen(*ways), [("nel", "staff@x", "SUCCESS,FAILURE"), ("zoe", "staff@x", "FAILURE")])

    def test_who_wants_to_hear_of_success_only_hears_of_no_members_failure(self) -> None:
        ways = [(to(name, STAFF, expanded=True), "SUCCESS", "") for name in ("nel", "zoe")]
        self.assertEqual(self.chosen(*ways), [("nel", "staff@x", "SUCCESS"), ("zoe", "staff@x", "NEVER")])

    def test_a_success_that_is_told_for_another_recipient_is_told_by_the_next_member(self) -> None:
        ways = [(to("nel"), "SUCCESS", "")]
        ways += [(to(name, STAFF, expanded=True), "SUCCESS", "") for name in ("nel", "zoe")]
        self.assertEqual(self.chosen(*ways), [("nel", "nel@x", "SUCCESS"), ("zoe", "staff@x", "SUCCESS")])

    def test_the_owner_of_a_list_hears_whatever_the_sender_wished(self) -> None:
        for said, first, second in (
            ("NEVER", "", ""),
            ("", "", ""),
            ("DELAY", "", ""),
            ("SUCCESS", "SUCCESS,FAILURE,DELAY", ""),
        ):
            ways = [(to(name, STAFF, owner=True, expanded=True), said, "") for name in ("nel", "zoe")]
            self.assertEqual(self.chosen(*ways), [("nel", "staff@x", first), ("zoe", "staff@x", second)], said)


class CopyTests(SynchronousTestCase):
    def test_the_head_is_the_envelope_and_our_received_header(self) -> None:
        copy = copy_of(
            Message("2230000000", JULIEN, 0.0, 1), to("nel", STAFF), b"Received: x\n", notify="DELAY", orcpt="a;b"
        )
        self.assertTrue(copy.head.startswith(b"From julien@x  "))
        self.assertEqual(
            copy.head.split(b"\n")[1:],
            [b"Return-Path: <julien@x>", b"X-Original-To: staff@x", b"Delivered-To: nel@x", b"Received: x", b""],
        )
        self.assertEqual((copy.sender, copy.rule, copy.notify, copy.orcpt), (JULIEN, "alias staff", "DELAY", "a;b"))

    def test_a_lists_owner_is_its_sender_but_never_in_the_place_of_nobody(self) -> None:
        way = to("nel", STAFF, owner=True, expanded=True)
        copy = copy_of(Message("2230000000", JULIEN, 0.0, 1), way, b"")
        self.assertEqual((copy.sender, copy.expanded), (OWNER, True))
        self.assertIn(b"Return-Path: <owner-staff@x>", copy.head)
        self.assertEqual(copy_of(Message("2230000000", NULL_SENDER, 0.0, 1), way, b"").sender, NULL_SENDER)
