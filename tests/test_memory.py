"""Twin of lanmail/memory.py. What it is for, bench/ measures."""

from __future__ import annotations

import gc
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

# A thread that allocates and frees at the top of its heap: by default each turn gives the pages back, and asks for them again.
WORK = """
import threading
from lanmail.memory import share_arenas
share_arenas()
def work():
    for _ in range(300):
        pieces = [bytes(60_000) for _ in range(20)]
thread = threading.Thread(target=work)
thread.start()
thread.join()
print("done")
"""


class MemoryTests(SynchronousTestCase):
    def test_a_process_goes_on_as_before(self) -> None:
        ran = subprocess.run([sys.executable, "-c", WORK], capture_output=True, text=True, timeout=60)
        self.assertEqual((ran.stdout, ran.stderr), ("done\n", ""))

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
assert gone() is None
print("done")
"""
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        self.assertEqual((ran.stdout, ran.stderr), ("done\n", ""))
        self.assertTrue(gc.isenabled())


class ConnectionTests(SynchronousTestCase):
    def test_what_every_connection_has_keeps_no_dictionary_of_its_attributes(self) -> None:
        """Past thirty names Python gives each object one of its own: 1.5 KB of a connection that says nothing."""
        for made in (SmtpSession, Pop3Session, Carrier, LineBuffer, Story, Tally, Patience):
            self.assertFalse(hasattr(made.__new__(made), "__dict__"), made)
