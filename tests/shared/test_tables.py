"""Twin of lanmail/shared/tables.py, with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from lanmail.shared.tables import Tables
from lanmail.wiring.counting import Counting

COMES = """
import os, sys
from lanmail.shared.tables import Tables
from lanmail.wiring.counting import Counting
tables = Tables.attach(int(sys.argv[1]), 2)
house, smtp = tables.present("house"), tables.present("smtp")
for _ in range(5):
    house.come("192.168.1.5"), smtp.come("192.168.1.5")
print(tables.windows("smtp")("Connection").another("192.168.1.5", 10.0, 60.0), flush=True)
sys.stdin.read()
"""

# Ends itself at whatever step it is at, over and over.
BUSY = """
import signal, sys
from lanmail.shared.tables import Tables
from lanmail.wiring.counting import Counting
tables = Tables.attach(int(sys.argv[1]), 2)
house, rates, failures = tables.present("house"), tables.windows("smtp")("Connection"), tables.failures("names")
signal.signal(signal.SIGALRM, signal.SIG_DFL)
signal.setitimer(signal.ITIMER_REAL, float(sys.argv[2]))
while True:
    for number in range(1000):
        house.come(str(number))
        rates.another(str(number), 10.0, 60.0)
        failures.another(str(number), 10.0)
"""


class TablesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.supervisor = Tables.create(2)
        self.addCleanup(os.close, self.supervisor.fd)
        self.here = Tables.attach(self.supervisor.fd, 1)

    def child(self, code: str, *arguments: str) -> subprocess.Popen[str]:
        fd = self.supervisor.fd
        command = [sys.executable, "-c", code, str(fd), *arguments]
        child = subprocess.Popen(command, pass_fds=[fd], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(child.communicate)
        self.addCleanup(child.kill)
        return child

    def test_another_process_is_seen_and_forgotten_when_it_was_killed(self) -> None:
        child = self.child(COMES)
        assert child.stdout is not None
        self.assertEqual(child.stdout.readline(), "1\n")
        house, smtp = self.here.present("house"), self.here.present("smtp")
        self.assertEqual((house.taken, house.of("192.168.1.5"), smtp.of("192.168.1.5")), (5, 5, 5))
        self.assertEqual(self.here.windows("smtp")("Connection").another("192.168.1.5", 11.0, 60.0), 2)
        house.come("192.168.1.5")
        child.send_signal(signal.SIGKILL)
        child.wait()
        self.supervisor.forget(2)
        self.assertEqual((house.taken, house.of("192.168.1.5"), smtp.taken), (1, 1, 0))
        self.assertEqual(self.here.windows("smtp")("Connection").another("192.168.1.5", 11.0, 60.0), 3)

    def test_whenever_it_dies_the_others_count_on(self) -> None:
        house = self.here.present("house")
        for seconds in ("0.003", "0.0071", "0.02"):
            self.assertEqual(self.child(BUSY, seconds).wait(), -signal.SIGALRM)
            self.assertGreaterEqual(house.taken, 0)
            self.supervisor.forget(2)
            self.assertEqual((house.taken, [house.of(str(number)) for number in range(1000)]), (0, [0] * 1000))
            rates, failures = self.here.windows("smtp")("Connection"), self.here.failures("names")
            for number in range(1000):
                rates.another(str(number), 11.0, 60.0), failures.another(str(number), 11.0)

    def test_an_empty_one_takes_next_to_no_memory(self) -> None:
        self.assertLess(os.fstat(self.supervisor.fd).st_blocks * 512, 64 << 10)
        self.here.present("smtp").come("192.168.1.5")
        self.supervisor.forget(1)
        self.assertLess(os.fstat(self.supervisor.fd).st_blocks * 512, 64 << 10)

    def test_nobody_can_shrink_it_under_the_others_and_no_program_inherits_it(self) -> None:
        self.assertRaises(PermissionError, os.ftruncate, self.supervisor.fd, 0)
        self.assertFalse(os.get_inheritable(self.supervisor.fd))

    def test_it_is_in_no_core_file(self) -> None:
        with open("/proc/self/smaps", encoding="ascii") as file:
            text = file.read()
        flags = [part.partition("VmFlags:")[2].split("\n")[0].split() for part in text.split("/memfd:lanmail")[1:]]
        self.assertTrue(flags and all("dd" in each for each in flags), flags)

    def test_there_are_as_many_as_were_asked_for(self) -> None:
        self.assertRaises(ValueError, self.supervisor.forget, 3)
        self.assertRaises(ValueError, self.supervisor.forget, 0)
        self.assertRaises(ValueError, self.supervisor.present, "smtp")

    def test_it_counts_all_that_a_service_counts(self) -> None:
        counting: Counting = self.here
        present = [counting.present(name) for name in ("house", "smtp", "submission", "pop3")]
        present[1].come("192.168.1.5")
        self.assertEqual([each.taken for each in present], [0, 1, 0, 0])
        counting.windows("pop3"), counting.failures("names"), counting.buckets(), counting.logins()
