from __future__ import annotations

import json
import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.live import ROOT
from tests.powercut.disk import Disk, Unknown
from tests.powercut.recorder import Marks, Step, compiled, environment, read

# In every way that lanmail writes, and some in which it does not.
PROGRAM = """
import fcntl, os, sqlite3, subprocess, sys, threading
from lanmail.mailbox.newborn import Newborn
top, outside = sys.argv[1:]
folder = os.open(top, os.O_RDONLY)
with Newborn(folder) as newborn:
    os.write(newborn.fd, b"pid 1")
    os.fsync(newborn.fd)
    newborn.appear("box")
    os.fsync(folder)
copy = os.dup(os.open("box", os.O_RDWR, dir_fd=folder))
os.pwrite(copy, b"0123456789", 3)
os.pwritev(copy, [b"ab", b"cd"], 5)
os.ftruncate(copy, 9)
source = os.open(f"{outside}", os.O_RDWR | os.O_TMPFILE) if os.path.isdir(outside) else os.memfd_create("source")
os.write(source, b"from a file")
assert os.copy_file_range(source, copy, 4, 5, 9) == 4
os.posix_fallocate(copy, 0, 40)
os.fdatasync(copy)
with open(f"{top}/text", "a") as file:
    file.write("one ")
    file.flush()
    if os.fork() == 0:
        os.write(file.fileno(), b"two ")
        os._exit(0)
    os.wait()
    os.writev(file.fileno(), [b"three ", b"four"])
with open(f"{top}/text", "a") as file:
    file.write(" five")
os.mkdir(f"{top}/sub")
for number in range(4):
    with open(f"{top}/sub/{number}", "w") as file:
        file.write("x" * 10000)
os.rename(f"{top}/sub/0", f"{top}/sub/1")
os.unlink("sub/2", dir_fd=folder)
os.truncate(f"{top}/sub/3", 5)
with open(f"{top}/sub/3", "w") as file:
    file.write("anew")
os.mkdir("gone", dir_fd=folder)
os.rmdir(f"{top}/gone")
os.chdir(top)
os.link("text", "second")
database = sqlite3.connect(f"{top}/database", isolation_level=None)
database.execute("PRAGMA journal_mode = WAL")
database.execute("PRAGMA synchronous = FULL")
database.execute("CREATE TABLE mail (text BLOB)")
def append(name):
    for number in range(20):
        with open(name, "ab") as file:
            file.write(b"%d" % number)
threads = [threading.Thread(target=append, args=(name,)) for name in ("a", "b", "a")]
for thread in threads:
    thread.start()
other = subprocess.Popen([sys.executable, "-c", "for n in range(20): open('a', 'a').write('other')"])
for number in range(30):
    database.execute("INSERT INTO mail VALUES (?)", (b"m" * 3000,))
for thread in threads:
    thread.join()
other.wait()
with open(outside, "w") as file:
    file.write(open("/proc/sys/kernel/random/boot_id").read())
os.kill(os.getpid(), 9)
"""


class RecorderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = os.path.realpath(self.mktemp())
        self.top = os.path.join(self.folder, "top")
        self.record = os.path.join(self.folder, "record")
        os.makedirs(self.top)
        self.library = compiled(self.folder)

    def run_recorded(self, program: str, *arguments: str) -> list[Step]:
        boot = os.path.join(self.folder, "boot")
        with open(boot, "w") as file:
            file.write("some boot\n")
        variables = environment(self.library, [self.top], self.record, sync=0.001, boot=boot)
        subprocess.run(
            [sys.executable, "-c", program, *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
            cwd=self.folder,
            check=False,
        )
        return list(read(self.record))

    def test_the_record_done_again_gives_the_same_files(self) -> None:
        outside = os.path.join(self.folder, "outside")
        disk = Disk.of([self.top])
        steps = self.run_recorded(PROGRAM, self.top, outside)
        for step in steps:
            disk.do(step)
        self.assertEqual(disk.names.keys(), Disk.of([self.top]).names.keys())
        for path, file in disk.names.items():
            self.assertEqual(file.number, os.stat(path).st_ino, path)
            if not file.folder:
                with open(path, "rb") as real:
                    self.assertTrue(file.seen() == real.read(), path)
        self.assertEqual({step.kind for step in steps}, set("ACDELNSTUWXZ"))
        with open(outside) as text:
            self.assertEqual(text.read(), "some boot\n")

    def test_sqlite_syncs_its_log_before_a_commit_is_said_to_be_done(self) -> None:
        self.run_recorded(PROGRAM, self.top, os.path.join(self.folder, "outside"))
        steps = [step for step in read(self.record) if step.path.endswith("database-wal")]
        self.assertGreaterEqual(sum(step.kind == "S" for step in steps), 30)

    def test_a_call_whose_effect_is_unknown_is_not_passed_over(self) -> None:
        disk = Disk.of([self.top])
        steps = self.run_recorded(f"import os; os.symlink('x', {self.top!r} + '/link')")
        self.assertEqual([(step.kind, step.other) for step in steps], [("X", "symlink")])
        self.assertRaises(Unknown, disk.do, steps[0])

    def test_marks_stand_between_the_steps_and_an_unfinished_step_is_none(self) -> None:
        marks = Marks(self.record)
        marks.put("answered", token="one")
        self.run_recorded(f"open({self.top!r} + '/file', 'w').write('x')")
        marks.put("fetched")
        marks.close()
        with open(self.record, "ab") as file:
            file.write(b"W" + bytes(20))
        steps = list(read(self.record))
        self.assertEqual([step.kind for step in steps], ["M", "C", "W", "M"])
        self.assertEqual(json.loads(steps[0].data), {"what": "answered", "token": "one"})
