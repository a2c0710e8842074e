"""Frames in packets, descriptors beside them, and what is no frame."""

from __future__ import annotations

import array
import os
import socket
import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.rights import channel
from lanmail.rights.channel import LONGEST, Noise


def descriptors() -> int:
    """How many this process has."""
    return len(os.listdir("/proc/self/fd"))


class ChannelTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.ours, self.theirs = channel.pair()
        for sock in (self.ours, self.theirs):
            self.addCleanup(sock.close)
            sock.settimeout(5)

    @settings(max_examples=100, deadline=None)
    @given(st.binary(min_size=1, max_size=1), st.lists(st.binary(max_size=300), max_size=6))
    def test_what_is_sent_is_what_is_received(self, kind: bytes, fields: list[bytes]) -> None:
        channel.send(self.ours, kind, *fields)
        got = channel.receive(self.theirs)
        self.assertEqual((got.kind, got.fields, got.descriptors), (kind, fields, ()))

    def test_a_descriptor_goes_along_and_no_child_inherits_it(self) -> None:
        with open("/proc/self/status", "rb") as file:
            channel.send(self.ours, b"+", descriptors=[file.fileno()])
            got = channel.receive(self.theirs)
            self.addCleanup(got.close)
            self.assertTrue(os.path.samestat(os.fstat(got.only_descriptor()), os.fstat(file.fileno())))
            self.assertFalse(os.get_inheritable(got.only_descriptor()))

    @settings(max_examples=300, deadline=None)
    @given(
        st.one_of(
            st.binary(min_size=1, max_size=200), st.binary(max_size=60).map(lambda b: struct.pack("!I", len(b)) + b)
        )
    )
    def test_any_packet_is_a_frame_or_noise(self, packet: bytes) -> None:
        self.ours.send(packet)
        try:
            got = channel.receive(self.theirs)
        except Noise:
            return
        channel.send(self.ours, got.kind, *got.fields)
        self.assertEqual(self.theirs.recv(1000), packet)

    def test_a_packet_that_is_too_long_is_noise(self) -> None:
        self.ours.send(struct.pack("!I", LONGEST + 1) + bytes(LONGEST + 1))
        self.assertRaises(Noise, channel.receive, self.theirs)

    def test_nothing_too_long_is_sent(self) -> None:
        self.assertRaises(ValueError, channel.send, self.ours, b"x", bytes(40000), bytes(40000))
        channel.send(self.ours, b"x", bytes(65000))
        self.assertEqual(channel.receive(self.theirs).fields, [bytes(65000)])

    def test_descriptors_that_come_with_noise_are_closed(self) -> None:
        fd = os.open(os.devnull, os.O_RDONLY)
        self.addCleanup(os.close, fd)
        before = descriptors()
        for octets, count in ((b"noise", 1), (struct.pack("!I", 1) + b"x", 40)):
            beside = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd] * count))
            self.ours.sendmsg([octets], [beside])
            self.assertRaises(Noise, channel.receive, self.theirs)
        self.assertEqual(descriptors(), before)

    def test_a_frame_without_its_descriptor_is_noise(self) -> None:
        channel.send(self.ours, b"+")
        self.assertRaises(Noise, channel.receive(self.theirs).only_descriptor)

    def test_the_end_is_the_end(self) -> None:
        self.ours.close()
        self.assertRaises(EOFError, channel.receive, self.theirs)
