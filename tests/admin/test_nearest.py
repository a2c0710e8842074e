from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from lanmail.admin.nearest import Known, alias_names
from lanmail.spool.stories import Refusal

KNOWN = Known(
    ["iscb-corporation.com", "srvlinux.iscb-corporation.com"], ["nel@iscb-corporation.com", "julien", "staff"]
)


def refusal(recipient: str, status: str) -> Refusal:
    return Refusal("192.168.1.5", "a@b", recipient, status, "pc", "", 0.0, 0.0, 1)


class NearestTests(SynchronousTestCase):
    def test_a_domain_with_a_slip_is_told_with_the_one_that_was_meant(self) -> None:
        for status in ("554 5.7.1 <x>: Relay access denied", "550 5.4.4 <x>: mail does not leave this network"):
            why = KNOWN.why(refusal("julien@isbc-corporation.com", status))
            self.assertEqual(why, "unknown domain; nearest iscb-corporation.com")

    def test_a_domain_that_is_meant_is_told_as_it_was_refused(self) -> None:
        why = KNOWN.why(refusal("julien@gmail.com", "550 5.4.4 <julien@gmail.com>: mail does not leave this network"))
        self.assertEqual(why, "mail does not leave this network (550 5.4.4)")

    def test_a_name_with_a_slip_is_told_with_the_one_that_was_meant(self) -> None:
        status = "550 5.1.1 <x>: Recipient address rejected: User unknown in local recipient table"
        for written, meant in (("Juline", "julien"), ("nell", "nel"), ("staf", "staff")):
            why = KNOWN.why(refusal(f"{written}@iscb-corporation.com", status))
            self.assertEqual(why, f"unknown user; nearest {meant}@iscb-corporation.com")
        self.assertEqual(KNOWN.why(refusal("zorro@iscb-corporation.com", status)), "unknown user")

    def test_other_reasons_are_told_as_they_are(self) -> None:
        why = KNOWN.why(
            refusal("nel@iscb-corporation.com", "452 4.2.2 <nel@x>: Recipient address rejected: Mailbox is full")
        )
        self.assertEqual(why, "Mailbox is full (452 4.2.2)")
        self.assertEqual(KNOWN.why(refusal("", "rubbish")), "rubbish")

    def test_whoever_asks_for_nobody_hears_of_the_nearest(self) -> None:
        self.assertEqual(KNOWN.near("juline"), "julien")
        self.assertEqual(KNOWN.near("juline@isbc-corporation.com"), "julien@iscb-corporation.com")
        self.assertEqual(KNOWN.near("julien@example.org"), "")
        self.assertEqual(KNOWN.near("zorro"), "")

    def test_what_strangers_put_behind_a_delimiter_makes_no_more_names(self) -> None:
        # Thousands that are like each other would keep an administrator waiting for minutes.
        known = Known(["lan.example"], [f"nel+{number}@lan.example" for number in range(1000)], "+")
        self.assertEqual(known.near("nell+1@lan.example"), "nel@lan.example")
        self.assertEqual(known.near("ne"), "nel")

    def test_names_of_aliases_are_read_and_what_cannot_be_read_is_passed_over(self) -> None:
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(b'# aliases\nstaff: nel,\n julien\nno colon\n"with space": nel\n\xff\xfe: nel\n')
        names = alias_names([path, os.path.dirname(os.path.abspath(path)), path + ".none"])
        self.assertEqual(names[:2], ["staff", "with space"])
