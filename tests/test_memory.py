"""Twin of lanmail/memory.py. What it is for, bench/ measures."""

from __future__ import annotations

import gc
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

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
