from __future__ import annotations

import shutil
import subprocess
from collections import Counter

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from lanmail.config.postfix import Standing, known, known_parameters


class TestTheData(SynchronousTestCase):
    def test_it_is_all_there(self) -> None:
        counts = Counter(there.standing for there in known_parameters().values())
        self.assertGreater(sum(counts.values()), 890)
        for standing in Standing:
            self.assertGreater(counts[standing], 30, standing)

    def test_a_parameter_has_its_class_and_its_default(self) -> None:
        biff, relayhost = known("biff"), known("relayhost")
        assert biff and relayhost
        self.assertEqual((biff.standing, biff.default), (Standing.NO_EFFECT, "yes"))
        self.assertEqual((relayhost.standing, relayhost.default), (Standing.DANGEROUS, ""))

    def test_other_values_may_stand_beside_the_default(self) -> None:
        data = known("smtpd_data_restrictions")
        percent = known("allow_percent_hack")
        assert data and percent
        tolerable = ("reject_unauth_pipelining", "reject_unauth_pipelining, permit")
        self.assertEqual((data.same, data.tolerable), (("permit",), tolerable))
        self.assertEqual(percent.same, ("no",))

    def test_a_transport_of_master_cf_has_parameters_of_its_own(self) -> None:
        found = known("maildrop_destination_recipient_limit")
        assert found
        self.assertIs(found.standing, Standing.NO_EFFECT)
        self.assertIsNone(known("maildrop_destination"))
        self.assertIsNone(known("mydestinations"))

    def test_whatever_decides_who_may_send_or_where_mail_goes_is_marked_so(self) -> None:
        for name, there in known_parameters().items():
            if name.endswith("_restrictions") and "_etrn_" not in name and "_before_" not in name:
                self.assertIs(there.standing, Standing.DANGEROUS, name)
        for name in (
            "transport_maps",
            "virtual_alias_maps",
            "relayhost",
            "always_bcc",
            "mailbox_command",
        ):
            self.assertIs(known_parameters()[name].standing, Standing.DANGEROUS, name)

    def test_nothing_that_an_installed_postfix_has_is_missing(self) -> None:
        postconf = shutil.which("postconf")
        if postconf is None:
            raise SkipTest("postconf is not installed")
        listed = subprocess.run([postconf, "-d"], capture_output=True, check=True, text=True).stdout
        names = {line.partition(" =")[0] for line in listed.splitlines() if " =" in line}
        self.assertEqual({name for name in names if known(name) is None}, set())
