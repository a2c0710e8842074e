"""The root parent as a process: what it does, what ends it, and that noise does nothing else."""

from __future__ import annotations

import os
import signal
import socket
import sys

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.accounts.helper import FIND_USER, YES, frame
from lanmail.rights import channel, parent
from lanmail.rights.channel import Frame, Noise
from lanmail.rights.duties import Duties
from lanmail.rights.parent import END, GONE, NAMES, NOT_STARTED, OPENER, START, STARTED, Parent
from lanmail.rights.starting import Channels, NoParent, pam_folder, start
from tests.live import wait_for

DUTIES = Duties(spool="/var/mail", uids=((1000, 60000),), pam_folder=pam_folder(), most=3)


def started(test: SynchronousTestCase, duties: Duties = DUTIES) -> Channels:
    """A root parent for the length of the test."""
    channels = start(duties)
    test.addCleanup(channels.process.wait, 10)
    test.addCleanup(channels.close)
    for sock in (channels.loop, channels.threads):
        sock.settimeout(10)
    return channels


def ended(helper: socket.socket) -> bool:
    """Whether it says nothing any more; reset, where it had not read all that was said to it."""
    try:
        return helper.recv(1) == b""
    except ConnectionResetError:
        return True


class ParentTests(SynchronousTestCase):
    def begin(self, sock: socket.socket, number: int, kind: bytes = NAMES) -> socket.socket:
        channel.send(sock, START, b"%d" % number, kind)
        said = channel.receive(sock)
        self.assertEqual((said.kind, said.fields), (STARTED, [b"%d" % number]))
        theirs = socket.socket(fileno=said.only_descriptor())
        self.addCleanup(theirs.close)
        theirs.settimeout(10)
        return theirs

    def test_a_helper_is_started_asked_directly_and_ended(self) -> None:
        loop = started(self).loop
        helper = self.begin(loop, 7)
        helper.sendall(frame(FIND_USER, b"root"))
        self.assertEqual(helper.recv(1000)[4:5], YES)
        channel.send(loop, END, b"7")
        said = channel.receive(loop)
        self.assertEqual((said.kind, said.fields), (GONE, [b"7", b"9"]))
        self.assertEqual(helper.recv(1), b"")
        self.begin(loop, 7)  # the number is free again

    def test_a_helper_whose_channel_is_closed_ends_and_that_is_told_to_the_loop_alone(self) -> None:
        channels = started(self)
        self.begin(channels.threads, 1, OPENER).close()
        self.begin(channels.loop, 1).close()
        said = channel.receive(channels.loop)
        self.assertEqual((said.kind, said.fields[0]), (GONE, b"1"))
        channels.threads.settimeout(0)
        self.assertRaises(BlockingIOError, channel.receive, channels.threads)

    def test_the_channels_do_not_end_each_other_s_helpers(self) -> None:
        channels = started(self)
        helper = self.begin(channels.loop, 1)
        channel.send(channels.threads, END, b"1")
        self.begin(channels.threads, 2, OPENER)  # so it has read that
        helper.sendall(frame(FIND_USER, b"root"))
        self.assertEqual(helper.recv(1000)[4:5], YES)

    def test_there_are_never_more_helpers_than_it_was_told(self) -> None:
        loop = started(self).loop
        for number in range(3):
            self.begin(loop, number)
        channel.send(loop, START, b"3", NAMES)
        said = channel.receive(loop)
        self.assertEqual((said.kind, said.fields[0]), (NOT_STARTED, b"3"))

    def test_it_ends_when_either_channel_does_and_its_helpers_with_it(self) -> None:
        for which in ("loop", "threads"):
            channels = started(self)
            helper = self.begin(channels.loop, 1)
            getattr(channels, which).close()
            self.assertEqual(channels.process.wait(10), 0)
            self.assertEqual(helper.recv(1), b"")

    def attached(self, channels: Channels) -> tuple[socket.socket, socket.socket]:
        """The channels of another process of the service."""
        loop, parents_loop = channel.pair()
        threads, parents_threads = channel.pair()
        with parents_loop, parents_threads:
            channel.send(channels.loop, parent.ATTACH, descriptors=[parents_loop.fileno(), parents_threads.fileno()])
        for sock in (loop, threads):
            self.addCleanup(sock.close)
            sock.settimeout(10)
        return loop, threads

    def test_several_processes_have_helpers_each_and_one_that_goes_takes_only_its_own(self) -> None:
        channels = started(self)
        first = self.begin(channels.loop, 1)
        for goes in ("loop", "threads", "noise"):
            loop, threads = self.attached(channels)
            stays, _ = self.attached(channels)
            theirs, opener, others = self.begin(loop, 1), self.begin(threads, 1, OPENER), self.begin(stays, 1)
            if goes == "noise":
                threads.send(b"noise")
            else:
                {"loop": loop, "threads": threads}[goes].close()
            self.assertTrue(ended(theirs) and ended(opener), goes)
            for alive in (first, others):
                alive.sendall(frame(FIND_USER, b"root"))
                self.assertEqual(alive.recv(1000)[4:5], YES, goes)
            stays.close()
            self.assertEqual(others.recv(1), b"")
        wait_for(lambda: len(os.listdir(f"/proc/{channels.process.pid}/fd")) == 3 + 2 + 1, str)

    def test_each_process_may_have_as_many_helpers_as_the_first(self) -> None:
        channels = started(self)
        loop, _ = self.attached(channels)
        for asked in (channels.loop, loop):
            for number in range(3):
                self.begin(asked, number)
            channel.send(asked, START, b"3", NAMES)
            self.assertEqual(channel.receive(asked).kind, NOT_STARTED)

    def test_only_the_first_may_bring_others(self) -> None:
        channels = started(self)
        loop, _ = self.attached(channels)
        channel.send(loop, parent.ATTACH, descriptors=[0, 1])
        self.assertEqual(loop.recv(1), b"")
        self.begin(channels.loop, 1)
        channel.send(channels.loop, parent.ATTACH, descriptors=[0])
        self.assertEqual(channels.process.wait(10), 1)

    def test_noise_on_either_channel_ends_it(self) -> None:
        for which, packet in (
            ("loop", b"noise"),
            ("threads", frame(b"?")),
            ("loop", frame(START, b"1")),
            ("threads", frame(START, b"-1", NAMES)),
            ("loop", frame(START, b"1", b"sh")),
            ("threads", frame(START, b"1", b"../../bin/sh")),
            ("loop", frame(END, b"")),
            ("threads", frame(parent.DUTIES, DUTIES.text())),
        ):
            channels = started(self)
            getattr(channels, which).send(packet)
            self.assertEqual(channels.process.wait(10), 1, packet)

    def test_descriptors_from_us_and_a_number_that_is_taken_end_it(self) -> None:
        channels = started(self)
        channel.send(channels.loop, END, b"1", descriptors=[0])
        self.assertEqual(channels.process.wait(10), 1)
        channels = started(self)
        self.begin(channels.loop, 1)
        channel.send(channels.loop, START, b"1", NAMES)
        self.assertEqual(channels.process.wait(10), 1)

    def test_signals_that_stop_the_service_do_not_stop_it_before(self) -> None:
        channels = started(self)
        for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            channels.process.send_signal(each)
        self.begin(channels.loop, 1)

    def test_it_inherits_none_of_our_descriptors_and_nothing_of_our_environment(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as port:
            port.set_inheritable(True)
            self.patch(os, "environ", {**os.environ, "PYTHONPATH": "/somewhere", "SECRET": "1"})
            pid = started(self).process.pid
        open_there = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        self.assertEqual(sorted(there.partition(":")[0] for there in open_there), ["/dev/null"] * 3 + ["socket"] * 2)
        with open(f"/proc/{pid}/environ", "rb") as file:
            self.assertEqual(
                sorted(file.read().split(b"\0")), [b"", b"LC_ALL=C", b"PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
            )

    def test_a_helper_that_takes_too_long_is_ended_by_its_own_clock(self) -> None:
        folder = self.mktemp()
        os.mkdir(folder)
        with open(f"{folder}/slowly.py", "w", encoding="ascii") as file:
            file.write("import time\ndef sign(request, argument):\n    time.sleep(1000)\n")
        duties = Duties("/m", (), signer="slowly:sign", folders=[os.path.abspath(folder)], time_limit=0.2)
        helper = self.begin(started(self, duties).threads, 1, parent.SIGNER)
        channel.send(helper, b"S", b"x")
        self.assertRaises(EOFError, channel.receive, helper)

    def test_one_that_does_not_start_is_said_in_words(self) -> None:
        program = f"{self.mktemp()}.py"
        with open(program, "w", encoding="ascii") as file:
            file.write("raise SystemExit(1)\n")
        trouble = self.assertRaises(NoParent, start, DUTIES, program=program)
        self.assertIn("root parent does not start", str(trouble))
        self.patch(sys, "executable", "/nowhere/python")
        self.assertIn("No such file", str(self.assertRaises(NoParent, start, DUTIES)))

    def test_many_helpers_are_started_and_ended_and_nothing_is_left_of_them(self) -> None:
        channels = started(self)
        folder = f"/proc/{channels.process.pid}/fd"
        before = len(os.listdir(folder))
        for number in range(20):
            self.begin(channels.threads, number, OPENER).close()
            wait_for(lambda: len(os.listdir(folder)) == before, lambda: os.listdir(folder))


class ObeyTests(SynchronousTestCase):
    """In this process, without a helper."""

    frames = st.builds(
        Frame,
        st.sampled_from([START, END, b"D", b"?", b"+"]),
        st.lists(st.one_of(st.sampled_from([b"1", b"2", NAMES, OPENER, b"0" * 30]), st.binary(max_size=5)), max_size=3),
    )

    @settings(max_examples=300, deadline=None)
    @given(st.lists(frames, max_size=8))
    def test_any_frames_start_helpers_that_are_known_or_are_noise(self, frames: list[Frame]) -> None:
        pairs = [channel.pair(), channel.pair()]
        begun: list[bytes] = []
        try:
            guard = Parent(pairs[0][1], pairs[1][1], DUTIES)

            def launch(fd: int, number: int, kind: bytes) -> socket.socket:
                if kind not in (parent.PASSWORDS, NAMES, parent.HOMES, OPENER, parent.SIGNER):
                    raise Noise
                begun.append(kind)
                raise OSError(11, "not in a test")

            guard._launch = launch  # type: ignore[method-assign]
            for each in frames:
                try:
                    guard._obey(pairs[0][1].fileno(), each)
                except Noise:
                    break
        finally:
            for pair in pairs:
                for sock in pair:
                    sock.close()
        self.assertLessEqual(len(begun), sum(each.kind == START for each in frames))
