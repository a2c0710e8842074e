"""What is said on the wire, as it stands in tests/dialogues/smtp-*.txt: in memory, and over TCP from the same text."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from lanmail.smtp.limits import SmtpLimits
from lanmail.wire.terms import LOGIN_FIRST, Terms
from tests import dialogue
from tests.smtp.fakes import Door, RememberingTransactions

NAMES = sorted(path.stem for path in dialogue.FOLDER.glob("smtp-*.txt"))


def door_for(name: str, clock: object = None, limits: SmtpLimits | None = None) -> Door:
    door = Door(limits, clock=clock, offer_auth=name == "smtp-auth")
    if name == "smtp-submission":
        door.factory.terms = lambda peer: Terms(starttls=True, login=True, mail=LOGIN_FIRST)
    return door


class InMemoryTests(SynchronousTestCase):
    def test_every_dialogue(self) -> None:
        for name in NAMES:
            for one in dialogue.read(name):
                door = door_for(name)
                one.play_in_memory(door.factory, door.clock)
                self.assertEqual(door.capacity.taken, 0, one.title)
                self.assertEqual(door.realm.logins, door.realm.logouts, one.title)
                self.assertEqual(door.clock.getDelayedCalls(), [], one.title)

    def test_the_dossiers_message_arrives(self) -> None:
        door = door_for("smtp-dossier")
        (one,) = dialogue.read("smtp-dossier")
        self.assertEqual(one.play_in_memory(door.factory, door.clock, "192.168.1.5"), {"id": "222CF6745D"})
        self.assertTrue(door.avatar.delivered[0].text.endswith(b"\n\nBonjour Nel.\n"))


class OverTcpTests(TestCase):
    async def test_every_dialogue_that_needs_no_clock(self) -> None:
        for name in NAMES:
            # The delay after errors is shorter here than anybody would set it: real seconds are dear.
            door = door_for(name, reactor, SmtpLimits(error_sleep_time=0.01))
            port = reactor.listenTCP(0, door.factory, interface="127.0.0.1")  # type: ignore[attr-defined]
            try:
                for one in dialogue.read(name):
                    if not one.needs_a_clock:
                        await one.play_over_tcp(reactor, port.getHost().port)
                await door.factory.stop()
            finally:
                await port.stopListening()
            self.assertEqual(door.capacity.taken, 0, name)

    async def test_a_client_that_pipes_it_all_and_closes_its_half_hears_every_answer(self) -> None:
        door = Door(clock=reactor)
        avatar = RememberingTransactions()
        avatar.waits["commit"] = lambda: deferLater(reactor, 0.05)  # type: ignore[arg-type]
        door.realm.make = lambda name: avatar
        port = reactor.listenTCP(0, door.factory, interface="127.0.0.1")  # type: ignore[attr-defined]
        wire = dialogue.TcpWire(reactor)
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port), wire)
        try:
            wire.send(b"HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<nel>\r\nDATA\r\nx\r\n.\r\nNOOP\r\n")
            wire.transport.loseWriteConnection()
            codes = [(await wire.line() or b"")[:3].decode() for _ in range(8)]
            self.assertEqual(codes, ["220", "250", "250", "250", "354", "250", "250", ""])
        finally:
            await wire.hang_up()
            await port.stopListening()
