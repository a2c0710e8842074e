"""Twin of lanmail/memory.py. What it is for, bench/ measures."""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from lanmail.pop3.session import Pop3Session
from lanmail.rim import Carrier
from lanmail.smtp.session import SmtpSession
from lanmail.smtp.story import Story
from lanmail.smtp.tally import Tally
from lanmail.wire.lines import LineBuffer
from lanmail.wire.patience import Patience

# Eight threads that have allocated, all at once; how many heaps there are besides the program's own (glibc puts each of them at a multiple
# of 64 MiB). By default that is one for each thread.
WORK = """
import re, threading
from lanmail.memory import share_arenas
share_arenas()
together = threading.Barrier(9)
def work():
    pieces = [bytes(60_000) for _ in range(20)]
    together.wait()
    together.wait()
for _ in range(8):
    threading.Thread(target=work).start()
together.wait()
begins = re.findall(r"^([0-9a-f]+)-[0-9a-f]+ rw-p 00000000 00:00 0", open("/proc/self/maps").read(), re.M)
print(sum(int(begin, 16) % (64 << 20) == 0 for begin in begins), "more")
together.wait()
"""


class MemoryTests(SynchronousTestCase):
    def test_threads_share_two_heaps(self) -> None:
        ran = subprocess.run([sys.executable, "-c", WORK], capture_output=True, text=True, timeout=60)
        self.assertIn((ran.stdout, ran.stderr), [("0 more\n", ""), ("1 more\n", "")])

    def test_what_is_there_is_not_looked_through_again_and_cycles_still_go(self) -> None:
        code = """
import gc, weakref
from lanmail.memory import collect_seldom
collect_seldom()
assert gc.get_freeze_count() > 1000
class Ring: pass
ring = Ring()
ring.self = ring
gone = weakref.ref(ring)
del ring
rings = [[] for _ in range(10_001)]
assert gone() is None and gc.isenabled()
print("done")
"""
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        self.assertEqual((ran.stdout, ran.stderr), ("done\n", ""))


class ConnectionTests(SynchronousTestCase):
    def test_what_every_connection_has_keeps_no_dictionary_of_its_attributes(self) -> None:
        """Past thirty names Python gives each object one of its own: 1.5 KB of a connection that says nothing."""
        for made in (SmtpSession, Pop3Session, Carrier, LineBuffer, Story, Tally, Patience):
            self.assertFalse(hasattr(made.__new__(made), "__dict__"), made)
