from __future__ import annotations

import json
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from lanmail.config.settings import read_text
from lanmail.tls.certificate import fits, names_of
from lanmail.tls.configured import order_of
from lanmail.tls.keeping import Keeping, KeepingTrouble
from lanmail.tls.signing import BadAnswer, Order, answered, sign
from tests.config.fake import FakeMachine
from tests.tls.made import NOW

LONGEST_ANSWER = 65000  # octets that the guard passes on


class SigningTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.data = str(Path(self.mktemp()).resolve())
        names = ("srv.lan.example", "lan.example", ("lan.example", "localhost"))
        self.order = Order(self.data, *names, ("127.0.0.1", "203.0.113.5"), True)

    def test_what_was_signed_arrives_as_it_was_made(self) -> None:
        kept = answered(sign(b"", self.order.text))
        held = Keeping(self.data).held()
        assert held is not None and kept.old_devices is not None
        self.assertEqual((kept.chain, kept.old_devices, kept.authority), (held.chain, held.old_devices, held.authority))
        self.assertTrue(fits(kept.chain) and fits(kept.old_devices))
        self.assertIn("was made", kept.news[0])
        again = answered(sign(b"", self.order.text))
        self.assertEqual((again.chain, again.news), (kept.chain, ()))

    def test_the_authoritys_key_is_no_part_of_the_answer(self) -> None:
        answer = sign(b"", self.order.text)
        key = (Path(self.data) / "lanmail" / "authority.pem").read_text().partition("-----END")[0].splitlines()[1]
        self.assertNotIn(key.encode(), answer)
        self.assertEqual(answer.count(b"BEGIN PRIVATE KEY"), 2)  # the service's own, and the one for old devices

    def test_whoever_asks_cannot_choose_a_name(self) -> None:
        for request in (b"bank.example", b"{}", b"\0"):
            with self.assertRaises(ValueError):
                sign(request, self.order.text)
        self.assertIsNone(Keeping(self.data).held())

    def test_an_order_survives_its_text(self) -> None:
        self.assertEqual(Order.of(self.order.text), self.order)
        settings = read_text("", machine=FakeMachine()).accepted()
        self.assertEqual(Order.of(order_of(settings).text), order_of(settings))
        for text in ("", "[]", "{}", json.dumps({**json.loads(self.order.text), "more": 1})):
            with self.assertRaises(ValueError):
                Order.of(text)

    def test_addresses_are_looked_up_when_it_is_kept(self) -> None:
        order = order_of(read_text(f"data_directory = {self.data}", machine=FakeMachine()).accepted())
        order.keep(NOW, FakeMachine())
        later = order.keep(NOW, FakeMachine(networks=("127.0.0.1/8", "192.168.1.77/24")))
        self.assertEqual([str(one) for one in names_of(later.chain.certificate)[1]], ["127.0.0.1", "192.168.1.77"])
        self.assertIn("it does not name 192.168.1.77", later.news[0])

    def test_trouble_says_what_it_is(self) -> None:
        broken = Order("/proc/nowhere", "srv.lan.example", "lan.example", (), ())
        with self.assertRaises(KeepingTrouble):
            sign(b"", broken.text)

    def test_the_largest_answer_fits_into_a_frame(self) -> None:
        listening = tuple(f"2001:db8:ffff:ffff:ffff:ffff:ffff:{number:04x}" for number in range(0x1000, 0x1000 + 600))
        first = Order(self.data, "srv." + "a" * 60 + ".example", "a" * 60 + ".example", (), listening, True)
        self.assertLess(len(sign(b"", first.text)), LONGEST_ANSWER)
        second = Order(self.data, first.host, first.domain, (), tuple(f"3{one[1:]}" for one in listening), True)
        self.assertLess(len(sign(b"", second.text)), LONGEST_ANSWER)

    def test_noise_is_no_answer(self) -> None:
        good = json.loads(sign(b"", self.order.text))
        for answer in (b"", b"\xff", b"[]", b"{}", json.dumps({**good, "chain": ""}).encode()):
            with self.assertRaises(BadAnswer):
                answered(answer)
