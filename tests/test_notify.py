"""What a service manager hears."""

from __future__ import annotations

import os
import secrets
import socket

from twisted.trial.unittest import SynchronousTestCase

from lanmail.notify import Notices


class NoticesTests(SynchronousTestCase):
    def manager(self, address: str) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(sock.close)
        sock.bind(address)
        sock.settimeout(5)
        return sock

    def abstract(self, **environment: str) -> tuple[socket.socket, Notices]:
        name = f"lanmail-test-{secrets.token_hex(8)}"
        return self.manager(f"\0{name}"), Notices({"NOTIFY_SOCKET": f"@{name}", **environment}, lambda: 12_345_678_999)

    def test_each_state_is_said_as_the_manual_has_it(self) -> None:
        manager, notices = self.abstract()
        for say, heard in (
            (lambda: notices.ready("2 ports"), b"READY=1\nSTATUS=2 ports"),
            (notices.reloading, b"RELOADING=1\nMONOTONIC_USEC=12345678"),
            (notices.ready, b"READY=1"),
            (notices.alive, b"WATCHDOG=1"),
            (lambda: notices.status("7 messages wait"), b"STATUS=7 messages wait"),
            (lambda: notices.stopping("bye"), b"STOPPING=1\nSTATUS=bye"),
        ):
            say()
            self.assertEqual(manager.recv(1000), heard)

    def test_a_socket_with_a_path_is_found_too(self) -> None:
        path = os.path.join("/tmp", f"lanmail-{secrets.token_hex(8)}")
        manager = self.manager(path)
        self.addCleanup(os.unlink, path)
        Notices({"NOTIFY_SOCKET": path}).ready()
        self.assertEqual(manager.recv(1000), b"READY=1")

    def test_a_status_is_one_line_and_says_nothing_else(self) -> None:
        manager, notices = self.abstract()
        notices.status("a\nREADY=1\rb")
        self.assertEqual(manager.recv(1000), b"STATUS=a READY=1 b")

    def test_without_a_manager_nothing_is_said_and_nobody_watches(self) -> None:
        for environment in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "relative"}, {"NOTIFY_SOCKET": "@"}):
            notices = Notices({**environment, "WATCHDOG_USEC": "1000000"})
            notices.ready()
            notices.alive()
            self.assertIsNone(notices.watchdog_interval)

    def test_a_manager_that_is_gone_or_does_not_listen_holds_nobody_up(self) -> None:
        Notices({"NOTIFY_SOCKET": "/nowhere/notify"}).ready()
        manager, notices = self.abstract()
        for _ in range(5000):  # more than a socket holds
            notices.alive()
        manager.close()
        notices.ready()

    def test_who_is_watched_says_so_twice_as_often_as_the_manager_waits(self) -> None:
        pid = str(os.getpid())
        for environment, interval in (
            ({"WATCHDOG_USEC": "30000000"}, 15.0),
            ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": pid}, 15.0),
            ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
            ({"WATCHDOG_USEC": "0"}, None),
            ({"WATCHDOG_USEC": "soon"}, None),
            ({}, None),
        ):
            self.assertEqual(self.abstract(**environment)[1].watchdog_interval, interval, environment)
