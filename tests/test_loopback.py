from __future__ import annotations

import os
import socket
import sys

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from lanmail.loopback import uid_behind
from lanmail.network import Peer

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def line(here: str, there: str, uid: int, inode: int = 4711) -> str:
    return (
        f"   0: {here} {there} 01 00000000:00000000 00:00000000 00000000  {uid}        0 {inode} 1 0000 20 4 30 10 -1\n"
    )


class TableTests(SynchronousTestCase):
    def setUp(self) -> None:
        if sys.byteorder != "little":
            raise SkipTest("these lines are a little-endian machine's")

    def behind(self, peer: Peer, tcp: str, tcp6: str = "") -> int | None:
        texts = {"/proc/self/net/tcp": HEAD + tcp if tcp else "", "/proc/self/net/tcp6": HEAD + tcp6 if tcp6 else ""}
        return uid_behind(peer, texts.__getitem__)

    def test_the_clients_end_is_the_one_that_is_the_other_way_round(self) -> None:
        ours, theirs = "0100007F:0019", "0100007F:9C40"
        peer = Peer("127.0.0.1", 40000, "127.0.0.1", 25)
        self.assertEqual(self.behind(peer, line(ours, theirs, 0, 1) + line(theirs, ours, 1001)), 1001)
        self.assertIsNone(self.behind(peer, line(ours, theirs, 0)))
        self.assertIsNone(self.behind(Peer("127.0.0.1", 40001, "127.0.0.1", 25), line(theirs, ours, 1001)))
        self.assertIsNone(self.behind(peer, ""))

    def test_a_client_that_has_closed_is_not_root(self) -> None:
        peer = Peer("127.0.0.1", 40000, "127.0.0.1", 25)
        self.assertIsNone(self.behind(peer, line("0100007F:9C40", "0100007F:0019", 0, 0)))

    def test_both_families_and_an_ipv4_client_with_a_socket_of_ipv6(self) -> None:
        one = "00000000000000000000000001000000"
        self.assertEqual(self.behind(Peer("::1", 40000, "::1", 25), "", line(f"{one}:9C40", f"{one}:0019", 1002)), 1002)
        mapped = "0000000000000000FFFF00000100007F"
        self.assertEqual(
            self.behind(
                Peer("127.0.0.1", 40000, "127.0.0.1", 25), HEAD, line(f"{mapped}:9C40", f"{mapped}:0019", 1003)
            ),
            1003,
        )

    def test_of_a_unix_socket_it_is_not_known(self) -> None:
        self.assertIsNone(self.behind(Peer(""), HEAD))


class KernelTests(SynchronousTestCase):
    def test_a_real_connection_is_ours_as_long_as_somebody_holds_its_other_end(self) -> None:
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            try:
                listening = socket.create_server((host, 0), family=family)
            except OSError as error:
                raise SkipTest(f"{host}: {error}") from error
            self.addCleanup(listening.close)
            client = socket.create_connection(listening.getsockname()[:2])
            server, there = listening.accept()
            self.addCleanup(server.close)
            peer = Peer(there[0], there[1], host, listening.getsockname()[1])
            self.assertEqual(uid_behind(peer), os.geteuid())
            client.close()
            self.assertIsNone(uid_behind(peer))
