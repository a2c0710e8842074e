"""Twin of lanmail/ports.py."""

from __future__ import annotations

import errno
import os
import socket
import struct

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from lanmail.ports import BACKLOG, CannotListen, Holder, holder_of, listen, unit_of


class PortsTests(SynchronousTestCase):
    def test_a_port_is_bound_with_a_long_queue_and_not_inherited(self) -> None:
        got = listen("smtp", "127.0.0.1", 0, "smtp_port")
        self.addCleanup(got.socket.close)
        self.assertFalse(got.socket.get_inheritable())
        self.assertFalse(got.socket.getblocking())
        self.assertRegex(got.place, r"^127\.0\.0\.1:\d+$")
        # tcp_info of a listening socket: the sixth number is the length its queue may reach (tcp(7), inet_diag).
        info = got.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
        with open("/proc/sys/net/core/somaxconn", encoding="ascii") as file:
            most = int(file.read())
        self.assertEqual(struct.unpack_from("<6I", info, 8)[5], min(BACKLOG, most))

    def test_a_taken_port_names_who_has_it_and_how_to_stop_it(self) -> None:
        taken = listen("smtp", "127.0.0.1", 0, "smtp_port")
        self.addCleanup(taken.socket.close)
        port = taken.socket.getsockname()[1]
        error = self.assertRaises(CannotListen, listen, "smtp", "127.0.0.1", port, "smtp_port")
        self.assertIn(f"port {port} on 127.0.0.1 is taken by", str(error))
        self.assertIn(f"(pid {os.getpid()}); stop it with: ", str(error))

    def test_the_holder_is_found_by_its_listening_socket_alone(self) -> None:
        taken = listen("smtp", "127.0.0.1", 0, "smtp_port")
        self.addCleanup(taken.socket.close)
        port = taken.socket.getsockname()[1]
        holder = holder_of(port, "127.0.0.1")
        assert holder is not None
        self.assertEqual(holder.pid, os.getpid())
        taken.socket.close()
        self.assertIsNone(holder_of(port, "127.0.0.1"))

    def test_a_service_is_stopped_for_good_and_nobody_is_logged_out(self) -> None:
        for cgroups, unit in (
            ("0::/system.slice/exim4.service\n", "exim4.service"),
            (
                "12:pids:/system.slice/postfix.service\n1:name=systemd:/system.slice/postfix.service\n",
                "postfix.service",
            ),
            ("0::/system.slice/system-postfix.slice/postfix@-.service\n", "postfix@-.service"),
            ("0::/system.slice/exim4.service/inner\n", "exim4.service"),
            ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-term.scope\n", None),
            ("0::/\n", None),
            ("", None),
        ):
            self.assertEqual(unit_of(cgroups), unit, cgroups)
        self.assertEqual(Holder(812, "exim4", "exim4.service").stop, "systemctl disable --now exim4.service")

    def test_the_holder_is_who_has_this_address_and_not_another(self) -> None:
        taken = listen("smtp", "127.0.0.1", 0, "smtp_port")
        self.addCleanup(taken.socket.close)
        port = taken.socket.getsockname()[1]
        self.assertIsNone(holder_of(port, "127.0.0.2"))
        self.assertIsNone(holder_of(port, "::1"))
        self.assertIsNotNone(holder_of(port, "0.0.0.0"))

    def test_a_taken_port_of_ipv6_names_its_holder_too(self) -> None:
        for host in ("::1", "::"):
            try:
                taken = listen("smtp", host, 0, "smtp_port")
            except CannotListen as error:
                raise SkipTest("this machine has no IPv6") from error
            self.addCleanup(taken.socket.close)
            port = taken.socket.getsockname()[1]
            error = self.assertRaises(CannotListen, listen, "smtp", "::1", port, "smtp_port")
            self.assertIn(f"port {port} on ::1 is taken by", str(error))
            self.assertIn(f"(pid {os.getpid()}); stop it with: ", str(error))

    def test_a_machine_without_ipv6_is_a_sentence(self) -> None:
        def no_such_family(*_: object) -> None:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

        self.patch(socket, "socket", no_such_family)
        error = self.assertRaises(CannotListen, listen, "smtp", "::1", 25, "smtp_port")
        self.assertEqual(str(error), "cannot listen on port 25 on ::1: Address family not supported by protocol")

    def test_ipv4_and_ipv6_of_one_port_are_two_sockets(self) -> None:
        try:
            six = listen("smtp", "::1", 0, "smtp_port")
        except CannotListen as error:
            raise SkipTest("this machine has no IPv6") from error
        self.addCleanup(six.socket.close)
        self.assertEqual(six.socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY), 1)
        self.assertTrue(six.place.startswith("[::1]:"))

    def test_an_address_of_somebody_else_is_named_with_its_parameter(self) -> None:
        error = self.assertRaises(CannotListen, listen, "smtp", "192.0.2.1", 0, "smtp_port")
        self.assertEqual(str(error), "192.0.2.1 is not an address of this machine (inet_interfaces)")
