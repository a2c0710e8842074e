"""One cut: everything lies in a folder as a machine finds it when it is switched on again, and then the service comes up on it."""

from __future__ import annotations

import os
import pwd
import queue
import random
import re
import shutil
import sqlite3
import time
from pathlib import Path
from typing import Literal

from tests.live import mail_owner
from tests.powercut.books import Books
from tests.powercut.disk import Disk
from tests.powercut.load import USERS, RecordedServer
from tests.powercut.recorder import read
from tests.powercut.remains import draw
from tests.powercut.restart import Worker, unsettled
from tests.powercut.through_pop3 import fetched

# How the service comes up: forked; or forked, recorded, and its power cut again before it is done; or as an administrator starts it, and
# looked at through POP3.
Way = Literal["once", "twice", "whole"]

_AGO = 3600  # seconds: so long the machine was off
_BOOT = "00000000-0000-4000-8000-000000000001\n"  # of the service whose power is cut again


class Aftermath:
    """folder: of this cut; it is removed where all is well. chance: what is drawn here depends on it alone.

    serving: how many workers the whole service has.
    """

    def __init__(self, number: int, folder: str, chance: random.Random, serving: int = 1) -> None:
        self._number = number
        self._chance = chance
        self._inodes: dict[int, int] = {}  # those that the files have, and those that they had
        self._server = RecordedServer(folder)
        self._serving = serving
        self._journal = str(self._server.queue / "lanmail" / "journal-0")
        self._other_device = chance.random() < 0.5

    def lay_out(self, disk: Disk, queue_folder: str, spool: str, before: dict[int, int] | None = None) -> None:
        """What is left of the disk. before: the inodes that programs saw for those of the disk, where they differ."""
        owner = pwd.getpwnam(mail_owner())
        then = time.time() - _AGO
        places = {queue_folder: str(self._server.queue), spool: str(self._server.spool)}
        for path, (file, octets) in draw(disk, self._chance).items():
            top = next((top for top in places if path == top or path.startswith(f"{top}/")), None)
            if top is None:
                raise AssertionError(f"{path} is in no folder of the disk")
            place = f"{places[top]}{path[len(top) :]}"
            if file.folder:
                os.makedirs(place, mode=0o755 if path in (queue_folder, spool) else 0o700, exist_ok=True)
            else:
                Path(place).write_bytes(octets)
                os.chmod(place, 0o600)
                os.utime(place, (then, then))
            if os.geteuid() == 0:
                os.chown(place, owner.pw_uid, owner.pw_gid)
            if disk.files.get(file.number) is file:
                self._inodes[os.stat(place).st_ino] = (before or {}).get(file.number, file.number)

    def judge(self, books: Books, workers: queue.Queue[Worker], way: Way) -> list[str]:
        """A sentence for each broken promise."""
        if way == "whole":
            if self._serving > 1:
                with self._server.main_cf.open("a") as main_cf:
                    main_cf.write(f"workers = {self._serving}\n")
            faults = fetched(self._server, self._journal, self._inodes, self._other_device, books.foreign_begun)
            if self._serving > 1 and not re.search(rf"worker {self._serving} \S+ \S+ serves", self._server.describe()):
                faults.append(f"{self._serving} workers were not there")
        else:
            worker = workers.get()
            try:
                self._move_out_of_the_way()
                if way == "twice":
                    faults = self._cut_again(books, workers, worker)
                    return self._cleared(faults)
                faults = self._run(worker)
            finally:
                workers.put(worker)
        return self._cleared(faults + self._look(books))

    def _cut_again(self, books: Books, workers: queue.Queue[Worker], worker: Worker) -> list[str]:
        """Let it run, and cut the power while it does; what is found on what that leaves."""
        queue_folder, spool = str(self._server.queue), str(self._server.spool)
        record = str(self._server.folder / "record")
        boot = self._server.folder / "boot"
        boot.write_text(_BOOT)
        disk = Disk.of([queue_folder, spool])
        faults = self._run(worker, record, str(boot))
        if faults:
            return faults
        steps = list(read(record))
        point = self._chance.randint(0, len(steps))
        for step in steps[:point]:
            disk.do(step)
        again = Aftermath(self._number, str(self._server.folder / f"again-{point}"), self._chance)
        again.lay_out(disk, queue_folder, spool, self._inodes)
        again._move_out_of_the_way()
        return again._run(worker) + again._look(books)

    def _run(self, worker: Worker, record: str = "", boot: str = "") -> list[str]:
        status = worker.run(
            str(self._server.main_cf),
            self._journal,
            str(self._server.log),
            self._inodes,
            other_device=self._other_device,
            record=record,
            boot=boot,
        )
        return [f"the service ended with status {status}"] if status else []

    def _look(self, books: Books) -> list[str]:
        server = self._server
        faults = books.faults(str(server.spool), USERS)
        try:
            waiting = unsettled(self._journal)
            if waiting:
                faults.append(f"{waiting} recipients still wait for their mailbox")
        except sqlite3.Error as error:
            faults.append(f"the journal cannot be read: {error}")
        if "Traceback" in server.describe():
            faults.append("the log has a traceback")
        faults += [f"{path.name} was put aside" for path in server.queue.glob("lanmail/mailboxes/*.aside-*")]
        faults += [f"{path.name} is left" for path in server.queue.glob("lanmail/incoming/*")]
        return faults

    def _cleared(self, faults: list[str]) -> list[str]:
        if not faults:
            shutil.rmtree(self._server.folder)
        return faults

    def _move_out_of_the_way(self) -> None:
        """An address of its own for the service that nobody is going to talk to: free ports are not free for long."""
        text = self._server.main_cf.read_text()
        address = f"127.1.{self._number >> 8 & 255}.{self._number & 255}"
        self._server.main_cf.write_text(text.replace("inet_interfaces = 127.0.0.1\n", f"inet_interfaces = {address}\n"))
