from __future__ import annotations

import os
import pwd
import socket

from twisted.trial.unittest import SynchronousTestCase

from lanmail.config.machine import MAX_FILE, THIS_MACHINE, ThisMachine


class TestThisMachine(SynchronousTestCase):
    def test_the_loopback_interface_is_among_the_interfaces_with_its_netmask(self) -> None:
        found = [str(interface) for interface in THIS_MACHINE.interfaces()]
        self.assertIn("127.0.0.1/8", found)
        self.assertEqual(len(found), len(set(found)))

    def test_the_name_is_the_kernels(self) -> None:
        self.assertEqual(THIS_MACHINE.host_name(), socket.gethostname())

    def test_accounts_and_groups(self) -> None:
        me = pwd.getpwuid(os.geteuid())
        self.assertEqual(THIS_MACHINE.user(me.pw_name), me.pw_uid)
        self.assertEqual(THIS_MACHINE.group("root"), 0)
        for name in ("no-such-account-here", "a\0b", ""):
            self.assertIsNone(THIS_MACHINE.user(name))
            self.assertIsNone(THIS_MACHINE.group(name))

    def test_the_hosts_file_is_read_without_its_comments(self) -> None:
        class Other(ThisMachine):
            def read(self, path: str) -> bytes:
                return b"127.0.0.1 localhost # mail\n# 1.2.3.4 mail\n192.168.1.1\tsrv.lan Mail\n\nfd00::1 mail\n"

        self.assertEqual(Other().hosts("mail"), ["192.168.1.1", "fd00::1"])
        self.assertEqual(Other().hosts("other"), [])

    def test_only_a_regular_file_of_a_sane_size_is_read(self) -> None:
        folder = self.mktemp()
        os.mkdir(folder)
        fifo, large, good = (os.path.join(folder, name) for name in ("fifo", "large", "good"))
        os.mkfifo(fifo)
        with open(large, "wb") as file:
            file.truncate(MAX_FILE + 1)
        with open(good, "wb") as file:
            file.write(b"a = b\n")
        self.assertEqual(THIS_MACHINE.read(good), b"a = b\n")
        for path in (fifo, large, folder, os.path.join(folder, "missing"), "/dev/zero"):
            self.assertRaises(OSError, THIS_MACHINE.read, path)

    def test_what_stands_where(self) -> None:
        self.assertTrue(THIS_MACHINE.is_folder("/etc"))
        self.assertFalse(THIS_MACHINE.is_folder("/etc/passwd"))
        self.assertTrue(THIS_MACHINE.exists("/etc/passwd"))
        self.assertFalse(THIS_MACHINE.exists("/no/such/place"))

    def test_facts_are_of_what_stands_there_itself(self) -> None:
        file, link = self.mktemp(), self.mktemp()
        with open(file, "wb"):
            os.chmod(file, 0o640)
        os.symlink(file, link)
        found, linked = THIS_MACHINE.facts(file), THIS_MACHINE.facts(link)
        assert found and linked
        self.assertEqual((found.is_file, found.is_link, found.mode & 0o777), (True, False, 0o640))
        self.assertEqual(found.uid, os.geteuid())
        self.assertEqual((linked.is_file, linked.is_link), (False, True))
        self.assertIsNone(THIS_MACHINE.facts("/no/such/place"))
        self.assertIsNone(THIS_MACHINE.facts("a\0b"))
