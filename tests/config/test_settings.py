from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.config.problems import Severity, Unusable
from lanmail.config.settings import Reading, read, read_text
from tests.config.fake import FakeMachine

HERE = os.path.dirname(__file__)


def reading(text: str, *overrides: str, machine: FakeMachine | None = None) -> Reading:
    return read_text(text, overrides, machine=machine or FakeMachine())


def shipped(name: str) -> str:
    with open(os.path.join(HERE, name), encoding="utf-8") as file:
        return file.read()


class TestReading(SynchronousTestCase):
    def only(self, text: str, *overrides: str) -> str:
        (problem,) = reading(text, *overrides).problems
        return str(problem)

    def test_the_later_line_wins_and_the_command_line_wins_over_all(self) -> None:
        text = "smtp_port = 26\nsmtp_port = 27\n"
        found = reading(text)
        self.assertEqual(found.accepted().smtp_port, 27)
        self.assertEqual([str(one) for one in found.warnings], ["main.cf:2: smtp_port was set before, in line 1"])
        self.assertEqual(reading(text, "smtp_port=28", "smtp_port=2525").accepted().smtp_port, 2525)

    def test_a_value_that_refers_to_an_overridden_one_follows_it(self) -> None:
        found = reading("mydestination = $mydomain", "mydomain=lan.example").accepted()
        self.assertIn("lan.example", found.mydestination)

    def test_what_is_quoted_from_a_file_reaches_the_terminal_short_and_escaped(self) -> None:
        machine = FakeMachine()
        machine.files["/environ"] = "A=\x1b[2J\0" + "b" * 1000
        (problem,) = reading("mydestination = /environ", machine=machine).problems
        self.assertEqual(
            str(problem),
            "main.cf:1: mydestination: A=\\x1b[2J\\x00" + "b" * 73 + "... (in /environ) is not a domain",
        )

    def test_a_misspelt_name_is_told_with_its_place_and_the_nearest_known(self) -> None:
        self.assertEqual(
            self.only("\nmydestinations = a\n"),
            'main.cf:2: unknown parameter "mydestinations"; did you mean "mydestination"?',
        )
        self.assertEqual(
            self.only("relay_host = a"), 'main.cf:1: unknown parameter "relay_host"; did you mean "relayhost"?'
        )
        self.assertEqual(
            self.only("stmpd_recipient_limit=5").partition("; ")[2], 'did you mean "smtpd_recipient_limit"?'
        )
        self.assertEqual(self.only("zzz = a"), 'main.cf:1: unknown parameter "zzz"')

    def test_a_name_that_another_value_refers_to_is_the_users_own(self) -> None:
        found = reading("office = 192.168.1.0/24\nmynetworks = $office, 127.0.0.0/8\n")
        self.assertIn("192.168.1.7", found.accepted().mynetworks)
        self.assertEqual(found.problems, ())

    def test_a_name_that_only_it_itself_refers_to_is_unknown(self) -> None:
        self.assertEqual(self.only("office = $office"), 'main.cf:1: unknown parameter "office"')

    def test_a_reference_to_nothing_is_told_where_it_stands(self) -> None:
        self.assertEqual(
            self.only("own = $mydomian\n\nmyorigin = $own\nmydestination = $own\n"),
            'main.cf:1: own: $mydomian is nothing that was declared; did you mean "mydomain"?',
        )

    def test_a_circle_is_told_once(self) -> None:
        found = reading("mydomain = $myorigin\nmyorigin = $mydomain\nmydestination = $mydomain\n")
        self.assertEqual(
            [str(one) for one in found.errors],
            ["main.cf:1: mydomain: $mydomain leads to itself: mydomain -> myorigin -> mydomain"],
        )

    def test_all_problems_come_at_once_in_the_order_of_the_file(self) -> None:
        found = reading(
            "smtp_port = smtp\nmydestinations = a\nnonsense\nmynetworks = 192.168.1.1/24\nqueue_directory = spool\n"
            "mail_owner = nobody-here\n",
            "pop3_port=-1",
            "nonsense",
        )
        self.assertEqual([one.place.line for one in found.errors], [1, 2, 3, 4, 5, 0, 0, 6])
        self.assertEqual(len(found.errors), 8)
        with self.assertRaises(Unusable) as caught:
            found.accepted()
        self.assertEqual(str(caught.exception).count("\n"), 7)
        self.assertIn("-o: pop3_port: '-1' is not a whole number", str(caught.exception))

    def test_a_wrong_value_leads_to_one_complaint_not_to_one_for_each_default_made_of_it(self) -> None:
        self.assertEqual(
            self.only("inet_interfaces = nowhere.example"),
            "main.cf:1: inet_interfaces: nowhere.example: /etc/hosts has no such name, and DNS is not asked; write the address itself",
        )

    def test_interfaces_and_protocols_that_are_both_wrong_are_told_once_each(self) -> None:
        for lines in (
            "inet_protocols = ipv5\ninet_interfaces = eth0\n",
            "inet_protocols = $nonsense\ninet_interfaces = eth0\n",
        ):
            found = [str(one) for one in reading(lines).problems]
            self.assertEqual(
                [one.split(":")[1:3] for one in found], [["1", " inet_protocols"], ["2", " inet_interfaces"]]
            )
            self.assertIn("eth0: /etc/hosts has no such name", found[1])

    def test_every_fault_of_a_list_is_a_problem_of_its_own(self) -> None:
        network = "is not a network, such as 192.168.1.0/24 or [fd00::]/8"
        self.assertEqual(
            [str(one) for one in reading("mynetworks = 192.168.1.0/33, foo.lan, fd00::/8, foo.lan /none").problems],
            [
                f"main.cf:1: mynetworks: 192.168.1.0/33 {network}",
                f"main.cf:1: mynetworks: foo.lan {network}",
                "main.cf:1: mynetworks: cannot read /none: No such file or directory",
            ],
        )

    def test_what_is_shown_of_a_wrong_value_is_the_default(self) -> None:
        self.assertEqual(reading("smtp_port = smtp").settings.smtp_port, 25)

    def test_the_dossiers_backslashes_are_kept_and_so_refused(self) -> None:
        self.assertIn(r"\iscb-corporation.com is not a domain", str(reading(shipped("dossier.main.cf")).errors[0]))

    @given(st.binary(max_size=200), st.lists(st.text(max_size=20), max_size=2))
    @settings(max_examples=60, deadline=None)
    def test_no_bytes_break_it(self, data: bytes, overrides: list[str]) -> None:
        read_text(data, overrides, machine=FakeMachine())

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(
                    ["mydomain", "myhostname", "mynetworks", "mydestination", "inet_interfaces", "own", "relayhost"]
                ),
                st.text(alphabet="$mydomainhst{}?:= /!.1\n", max_size=20)
                | st.sampled_from(["$own", "$mydomain", "$myhostname"]),
            ),
            max_size=5,
        )
    )
    @settings(max_examples=100, deadline=None)
    def test_no_assignments_break_it(self, assignments: list[tuple[str, str]]) -> None:
        found = reading("".join(f"{name} = {value}\n" for name, value in assignments))
        if not found.errors:
            self.assertNotIn(None, found.settings.values.values())


class TestPostfixsParameters(SynchronousTestCase):
    """The three classes of what we do not implement."""

    def kinds(self, text: str) -> list[Severity]:
        return [problem.severity for problem in reading(text).problems]

    def test_without_effect(self) -> None:
        self.assertEqual(self.kinds("biff = no\nqmgr_message_active_limit = 5"), [Severity.NOTE] * 2)

    def test_not_implemented(self) -> None:
        self.assertEqual(self.kinds("smtpd_helo_required = yes"), [Severity.WARNING])

    def test_what_would_change_where_mail_goes_is_an_error(self) -> None:
        for line in (
            "relayhost = mail.isp.example",
            "home_mailbox = Maildir/",
            "smtpd_sender_restrictions = reject",
            "smtpd_enforce_tls = yes",
        ):
            self.assertEqual(self.kinds(line), [Severity.ERROR], line)

    def test_a_command_for_mailboxes_is_an_error_that_says_where_mail_goes_instead(self) -> None:
        for command, named in (
            ('procmail -a "$EXTENSION"', "procmail"),
            ("/usr/lib/dovecot/dovecot-lda -f $SENDER", "dovecot-lda"),
            ("(cat; true) >/dev/null", "a command"),
            ("$command_directory/deliver", "deliver"),
        ):
            (problem,) = reading(f"mailbox_command = {command}").errors
            self.assertEqual(
                str(problem),
                f"main.cf:1: mailbox_command: {named} is not run here;"
                " mail goes into the mailboxes of mail_spool_directory. Remove this line",
            )
        self.assertEqual(self.kinds("mailbox_command ="), [])

    def test_the_default_is_nothing_to_speak_of_however_its_separators_are_written(self) -> None:
        for line in (
            "relayhost =",
            "biff = yes",
            "virtual_alias_domains = $virtual_alias_maps",
            "smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated\n  defer_unauth_destination",
            "append_dot_mydomain = no",
            "unknown_local_recipient_reject_code = 550",
        ):
            self.assertEqual(self.kinds(line), [], line)

    def test_a_value_that_asks_for_what_is_done_here_is_nothing_to_speak_of(self) -> None:
        for line in (
            "default_transport = error",
            "smtpd_recipient_restrictions = permit_mynetworks,reject_unauth_destination",
            "smtpd_recipient_restrictions = permit_sasl_authenticated permit_mynetworks reject_unauth_destination",
            "smtpd_relay_restrictions =\n permit_mynetworks,\n permit_sasl_authenticated,\n reject_unauth_destination,\n permit",
            "smtpd_sender_restrictions = permit_mynetworks, permit",
            "virtual_transport = virtual",
        ):
            self.assertEqual(self.kinds(line), [], line)

    def test_a_restriction_class_is_part_of_the_error_and_no_unknown_name(self) -> None:
        found = reading("smtpd_restriction_classes = grey, other\ngrey = check_policy_service inet:127.0.0.1:10023")
        self.assertEqual([problem.text.split()[0] for problem in found.problems], ["smtpd_restriction_classes"])

    def test_what_only_keeps_bad_clients_away_is_a_warning(self) -> None:
        for name in ("smtpd_data_restrictions", "smtpd_client_restrictions"):
            self.assertEqual(self.kinds(f"{name} = reject_unauth_pipelining"), [Severity.WARNING])
            self.assertEqual(self.kinds(f"{name} = reject_unauth_pipelining, reject"), [Severity.ERROR])

    def test_a_name_beyond_ascii_is_in_the_form_that_clients_use(self) -> None:
        found = reading("mydomain = b\u00fcro.example\nmyhostname = Post.$mydomain").accepted()
        self.assertEqual(found.myhostname, "post.xn--bro-hoa.example")
        self.assertIn("post.xn--bro-hoa.example", found.mydestination)

    def test_what_others_refer_to_has_an_effect(self) -> None:
        found = reading("stress = yes")
        self.assertEqual(found.problems, ())
        self.assertEqual(found.accepted().smtpd_timeout, 10)

    def test_what_only_postfix_sets_at_run_time_may_be_referred_to_in_its_parameters(self) -> None:
        self.assertEqual(
            self.kinds("debugger_command = gdb $daemon_directory/$process_name $nonsense"), [Severity.NOTE]
        )


class TestFilesAsTheyStand(SynchronousTestCase):
    def test_debians_starts_without_a_warning(self) -> None:
        machine = FakeMachine(
            files={"/etc/aliases": "", "/etc/mailname": "iscb-corporation.com\n", "/etc/pam.d/lanmail": ""}
        )
        found = reading(shipped("debian.main.cf"), machine=machine)
        settings = found.accepted()
        self.assertEqual(found.warnings, ())
        self.assertEqual(str(settings.mynetworks), "127.0.0.0/8 127.0.0.0/8 ::1/128")
        self.assertEqual(settings.myorigin, "iscb-corporation.com")
        self.assertEqual(settings.smtpd_banner, "srvlinux.iscb-corporation.com ESMTP lanmail (Debian/GNU)")
        self.assertEqual((settings.mailbox_size_limit, settings.recipient_delimiter), (0, "+"))

    def test_debians_for_local_mail_only_starts_too(self) -> None:
        local = "inet_interfaces = loopback-only\ndefault_transport = error\nrelay_transport = error\n"
        machine = FakeMachine(files={})
        found = reading(shipped("debian.main.cf") + local, machine=machine)
        self.assertEqual(found.errors, ())
        # /etc/mailname, /etc/aliases and the PAM service are missing on this machine, and inet_interfaces is there twice.
        self.assertEqual(len(found.warnings), 4)

    def test_fedoras_starts_without_a_warning(self) -> None:
        found = reading(shipped("fedora.main.cf"))
        settings = found.accepted()
        self.assertEqual(found.warnings, ())
        self.assertEqual(settings.inet_interfaces.addresses, ("127.0.0.1", "::1"))
        self.assertEqual(settings.mail_owner, "postfix")
        self.assertEqual(settings.queue_directory, "/var/spool/postfix")

    def test_the_dossiers_starts_as_it_is(self) -> None:
        found = reading(shipped("dossier.main.cf").replace("\\$", "$"))
        settings = found.accepted()
        self.assertEqual(found.problems, ())
        self.assertEqual(
            settings.mydestination.names,
            (
                "iscb-corporation.com",
                "srvlinux.iscb-corporation.com",
                "localhost.iscb-corporation.com",
            ),
        )
        self.assertEqual(settings.myorigin, "iscb-corporation.com")
        self.assertEqual(settings.mail_spool_directory, "/var/spool/mail")
        self.assertIn("192.168.1.5", settings.mynetworks)
        self.assertNotIn("192.168.2.5", settings.mynetworks)

    def test_a_file_of_latin_1_comments_is_read_from_disk(self) -> None:
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write("# propriétaire\nsmtp_port = 2525\n".encode("latin-1"))
        self.assertEqual(read(path).settings.smtp_port, 2525)

    def test_a_file_that_cannot_be_read_is_a_problem_like_any_other(self) -> None:
        for path in ("/nowhere/main.cf", "/etc", "a\0b"):
            found = read(path, ["nonsense"], machine=FakeMachine() if path != "/etc" else FakeMachine(folders=()))
            self.assertIn("cannot be read", str(found.errors[0]))
            self.assertEqual([str(one.place) for one in found.problems], [path, "-o"])
            self.assertTrue(found.unread)
