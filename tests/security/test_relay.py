"""Ways to ask a server of ours to carry mail elsewhere, as a stranger: each is refused at RCPT, and of what is taken nothing leaves."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.caller import Caller, announced
from tests.live import Server, shared

PROXY = "127.0.0.9"
HERE, FAR = "iscb-corporation.com", "elsewhere.example"
ALIASES = f"""\
outside: somebody@{FAR}
staff: nel, somebody@{FAR}
program: "|/bin/cat"
file: /tmp/lanmail-relay-test
"""


def make(folder: str) -> Server:
    aliases = Path(folder) / "aliases"
    aliases.write_text(ALIASES)
    return Server(
        folder,
        f"""\
proxy_networks = {PROXY}
mynetworks = 127.0.0.0/8, 192.168.1.0/24, [fd00::]/64
alias_maps = hash:{aliases}
recipient_delimiter = +
mydestination = $mydomain, $myhostname, localhost
smtpd_error_sleep_time = 0
""",
    )


server = shared(make)

# What stands behind RCPT TO: in a stranger's mouth. None of it has two meanings here.
ELSEWHERE = (
    f"<user@{FAR}>",
    f"<user@{FAR.upper()}>",
    f"<user@{FAR}.>",
    f"user@{FAR}",
    f"< user@{FAR} >",
    f'<"user"@{FAR}>',
    f'<"user@{HERE}"@{FAR}>',
    f"<postmaster@{FAR}>",
    f"<nel@{HERE}@{FAR}>",
    f"<nel@{HERE}.{FAR}>",
    f"<nel@x{HERE}>",
    f"<nel@{HERE}..>",
    f"<nel@.{HERE}>",
    "<nel@127.0.0.1>",
    "<nel@2130706433>",
    "<nel@[192.168.1.2]>",
    "<nel@[127.0.0.2]>",
    "<nel@[203.0.113.77]>",
    "<nel@[IPv6:2001:db8::1]>",
    "<nel@[IPv6:::ffff:203.0.113.77]>",
    "<nel@[127.0.0.1.]>",
    "<nel@[localhost]>",
    "<nel@[]>",
)
THROUGH_US = (
    f"<user%{FAR}@{HERE}>",
    f"<user%{FAR.upper()}@{HERE.upper()}>",
    f"<user%{FAR}@srvlinux.{HERE}>",
    f"<user%{FAR}@localhost>",
    f"<user%{FAR}@[127.0.0.1]>",
    f"<user%{FAR}@[IPv6:::ffff:127.0.0.1]>",
    f"<user%{FAR}@{HERE}.>",
    f"<user%{FAR}>",
    f"<user%{FAR}%{HERE}@{HERE}>",
    f'<"user%{FAR}"@{HERE}>',
    f'<"user@{FAR}"@{HERE}>',
    f'<"user\\@{FAR}"@{HERE}>',
    f'<user"@"{FAR}@{HERE}>',
    f'<"user@{FAR}">',
    f"<user@{FAR}@{HERE}>",
    f"<user@{FAR}@[127.0.0.1]>",
    f"<{FAR}!user>",
    f"<{FAR}!user@{HERE}>",
    f"<{HERE}!{FAR}!user>",
    f"<{HERE}!{FAR}!user@{HERE}>",
    f'<"{FAR}!user"@{HERE}>',
    f"<{FAR}!user%{FAR}@{HERE}>",
    f"<user%{FAR}!{HERE}@{HERE}>",
    f"<nel+user%{FAR}@{HERE}>",
    f"<postmaster+user@{FAR}@{HERE}>",
    f"<postmaster%{FAR}@{HERE}>",
    f'<"postmaster+x@{FAR}"@{HERE}>',
    f"<@{HERE}:user@{FAR}>",
    f"<@{HERE},@srvlinux.{HERE}:user@{FAR}>",
    f"<@{HERE}:user%{FAR}@{HERE}>",
    f"<@{HERE}:@{FAR}:user@{FAR}>",
    f"<@{HERE},user@{FAR}:nel@{HERE}>",
    f"<@[127.0.0.1]:user@{FAR}>",
    f"<outside@{HERE}>",
    "<outside>",
    f"<outside+tag@{HERE}>",
    f"<program@{HERE}>",
    f"<file@{HERE}>",
    f"<|/bin/cat@{HERE}>",
    f'<"|/bin/cat"@{HERE}>',
    f"</tmp/lanmail-relay-test@{HERE}>",
    f"<:include:/etc/passwd@{HERE}>",
    f"<nel@{HERE}> <user@{FAR}>",
    f"<nel@{HERE}>,<user@{FAR}>",
    f"<nel@{HERE},user@{FAR}>",
    f"<user@{FAR}> ORCPT=rfc822;nel@{HERE}",
    f"<user@{FAR}> NOTIFY=NEVER",
    "<>",
    "<@>",
    f"<@{HERE}>",
    f"<@{HERE}:>",
    "",
)
# Octets that no address has. (Each is written into the middle of one that would be refused, and of one that would be taken.)
ODD = ("\t", "\0", "\r", "\x0b", "\x1f", "\x7f", "\\\0")


class RelayCase(SynchronousTestCase):
    def setUp(self) -> None:
        begin = len(server().describe())
        self.addCleanup(lambda: self.assertNotIn("Traceback", server().describe()[begin:]))

    def come(self, client: str = "203.0.113.9") -> Caller:
        caller = Caller(server().smtp, PROXY, first=announced(client, "fd00::1" if ":" in client else "192.168.1.1"))
        self.addCleanup(caller.close)
        return caller

    def recipients(
        self, written: tuple[str, ...], client: str = "203.0.113.9", sender: str = "<x@far.example>"
    ) -> list[str]:
        """What each is answered; after a few a new connection, as too many errors end one."""
        answers: list[str] = []
        for count, one in enumerate(written):
            if count % 8 == 0:
                caller = self.come(client)
                caller.say("EHLO client.example")
                self.assertRegex(caller.say(f"MAIL FROM:{sender}"), "^250 ")
            answers.append(caller.say(f"RCPT TO:{one}"))
        return answers


class RelayTests(RelayCase):
    def test_mail_for_elsewhere_is_refused_however_it_is_written(self) -> None:
        for one, answer in zip(ELSEWHERE, self.recipients(ELSEWHERE), strict=True):
            self.assertRegex(answer, r"^(554 5\.7\.1|501 5\.1\.3|550 5\.1\.1) ", one)
        self.assertGreater(len(ELSEWHERE), 20)

    def test_nobody_leads_it_through_us(self) -> None:
        for one, answer in zip(THROUGH_US, self.recipients(THROUGH_US), strict=True):
            self.assertRegex(answer, r"^(554 5\.7\.1|501 5\.(1\.3|5\.4)|555 5\.5\.4|550 5\.(1\.1|3\.5|4\.4)) ", one)
        self.assertGreater(len(THROUGH_US), 40)

    def test_octets_that_no_address_has_hide_none(self) -> None:
        written = tuple(
            form
            for octet in ODD
            for form in (
                f"<nel@{HERE}{octet}@{FAR}>",
                f"<user@{FAR}{octet}@{HERE}>",
                f"<user{octet}@{FAR}>",
                f"<nel@{HERE}>{octet}<user@{FAR}>",
            )
        )
        for one, answer in zip(written, self.recipients(written), strict=True):
            self.assertRegex(answer, r"^50[01] 5\.", repr(one))

    def test_a_sender_of_ours_opens_nothing(self) -> None:
        for sender in (f"<nel@{HERE}>", f"<postmaster@{HERE}>", "<>", f"<nel@{HERE}> AUTH=<>", "<nel@[127.0.0.1]>"):
            caller = self.come()
            caller.say(f"EHLO srvlinux.{HERE}")
            if caller.say(f"MAIL FROM:{sender}").startswith("250 "):
                self.assertRegex(caller.say(f"RCPT TO:<user@{FAR}>"), r"^554 5\.7\.1 ", sender)

    def test_neither_greeting_nor_a_word_of_a_proxy_makes_a_stranger_one_of_ours(self) -> None:
        for said in (
            "EHLO [192.168.1.5]",
            "EHLO localhost",
            f"HELO srvlinux.{HERE}",
            "XCLIENT ADDR=127.0.0.1 NAME=localhost",
            "XFORWARD ADDR=127.0.0.1",
            "PROXY TCP4 127.0.0.1 127.0.0.1 5 25",
            "AUTH EXTERNAL bmVs",
            "AUTH ANONYMOUS",
            "ETRN #elsewhere.example",
            "TURN",
            "VERB ON",
        ):
            caller = self.come()
            caller.say("EHLO client.example")
            caller.say(said)
            caller.say("MAIL FROM:<x@far.example>")
            self.assertRegex(caller.say(f"RCPT TO:<user@{FAR}>"), r"^554 5\.7\.1 ", said)

    def test_addresses_that_look_like_ours_are_strangers(self) -> None:
        for client in (
            "192.168.10.5",
            "192.168.0.255",
            "192.168.2.0",
            "126.255.255.255",
            "128.0.0.0",
            "::192.168.1.5",
            "2002:c0a8:105::1",  # 6to4
            "64:ff9b::c0a8:105",  # NAT64
            "::ffff:192.168.10.5",
            "fd00:0:0:1::5",
            "fe80::c0a8:105",
            "127.0.0.1",  # of the proxy's machine? not ours to believe, but where the proxy is this machine
        ):
            (answer,) = self.recipients((f"<user@{FAR}>",), client)
            expected = r"^550 5\.4\.4 " if client == "127.0.0.1" else r"^554 5\.7\.1 "
            self.assertRegex(answer, expected, client)
        for client in ("192.168.1.5", "::ffff:192.168.1.5", "fd00::5"):
            (answer,) = self.recipients((f"<user@{FAR}>",), client)
            self.assertRegex(answer, r"^550 5\.4\.4 .*does not leave this network", client)

    def test_what_is_taken_stays_here_whatever_rides_on_it(self) -> None:
        """A list with a member elsewhere, a tag that looks like an address, an ORCPT that names somebody else."""
        caller = self.come()
        caller.say("EHLO client.example")
        self.assertRegex(caller.say(f"MAIL FROM:<x@{FAR}> RET=FULL ENVID=user+40{FAR}"), "^250 ")
        for one in (
            f"<staff@{HERE}>",
            f"<julien+user={FAR}@{HERE}> ORCPT=rfc822;user+40{FAR} NOTIFY=SUCCESS,FAILURE",
            f"<@{FAR}:julien@{HERE}>",
            f"<NEL@{HERE.upper()}.>",
            "<postmaster>",
        ):
            self.assertRegex(caller.say(f"RCPT TO:{one}"), r"^250 2\.1\.5 ", one)
        caller.say("DATA")
        self.assertRegex(
            caller.say(f"Subject: token-7261\r\nTo: user@{FAR}\r\nBcc: user@{FAR}\r\n\r\n.x\r\n."), "^250 "
        )
        server().wait_until_delivered()
        found = {path.name for path in server().spool.iterdir() if b"token-7261" in path.read_bytes()}
        self.assertEqual(found - {"root"}, {"nel", "julien"})
        log = server().describe()
        self.assertNotRegex(log, rf"relay=(?!local)[^ ,]*{re.escape(FAR)}")
        self.assertIn("who are unknown or in other domains", log)
