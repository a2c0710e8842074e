"""What the machine says of itself: CPU time, the disk, memory, and whether anybody else is using it."""

from __future__ import annotations

import collections
import contextlib
import os
import re
import statistics
import threading
import time
from collections.abc import Callable, Iterable

TICKS = os.sysconf("SC_CLK_TCK")
CORES = os.cpu_count() or 1


def cpu_busy() -> float:
    """Seconds of CPU that everybody together has used since the start of the machine; not idle, not waiting, not stolen."""
    with open("/proc/stat") as f:
        v = [int(x) for x in f.readline().split()[1:]]
    return (v[0] + v[1] + v[2] + v[5] + v[6]) / TICKS


def kernel_threads_cpu() -> float:
    """Seconds that kernel threads have used: what is done for a server after its system call has returned."""
    used = 0
    for _, stat in processes():
        if stat[1] == "2":
            used += int(stat[11]) + int(stat[12])
    return used / TICKS


def own_cpu() -> float:
    """Seconds of this process and of the load generators that have ended."""
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system


def processes() -> Iterable[tuple[int, list[str]]]:
    """Each process with the fields of /proc/PID/stat that stand behind its name, proc(5)."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat") as f:
                yield int(entry), f.read().rsplit(")", 1)[1].split()


def family(roots: Iterable[int]) -> list[int]:
    """The processes and all their descendants."""
    children = collections.defaultdict(list)
    for pid, stat in processes():
        children[int(stat[1])].append(pid)
    seen: list[int] = []
    todo = [root for root in roots if os.path.isdir(f"/proc/{root}")]
    while todo:
        pid = todo.pop()
        if pid not in seen:
            seen.append(pid)
            todo += children[pid]
    return seen


def disk(path: str) -> dict[str, float]:
    """Writes, megabytes and flushes of the whole disk that ``path`` lies on; nothing where the kernel does not count."""
    st = os.stat(path)
    try:
        with open(f"/sys/dev/block/{os.major(st.st_dev)}:{os.minor(st.st_dev)}/stat") as f:
            v = [int(x) for x in f.read().split()]
    except OSError:
        return {}
    return {"writes": v[4], "written_mb": v[6] * 512 / 1e6, "flushes": v[15] if len(v) > 15 else 0}


def memory(pids: Iterable[int]) -> dict[str, float]:
    """Megabytes of all of them: proportional (shared pages count once), resident, and proportional without files."""
    total: collections.Counter[str] = collections.Counter()
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as f:
            for line in f:
                word = line.split()
                if word[0] in ("Pss:", "Rss:", "Pss_Anon:"):
                    total[word[0]] += int(word[1])
            total["n"] += 1
    return {
        "pss_mb": round(total["Pss:"] / 1024, 2),
        "rss_mb": round(total["Rss:"] / 1024, 2),
        "anon_mb": round(total["Pss_Anon:"] / 1024, 2),
        "processes": total["n"],
    }


class Group:
    """A control group around a server: the CPU time of all its processes, those that have ended and its helpers too."""

    def __init__(self, name: str) -> None:
        self.v1 = os.path.isdir("/sys/fs/cgroup/cpuacct")
        root = "/sys/fs/cgroup/cpuacct" if self.v1 else "/sys/fs/cgroup"
        self.path: str | None = os.path.join(root, "mailbench-" + re.sub(r"\W+", "-", name))
        try:
            os.makedirs(self.path, exist_ok=True)
            self.usage()
        except (OSError, ValueError):
            self.path = None

    def join(self) -> str:
        """What a shell says to belong to it; nothing where there are no control groups."""
        return f"echo $$ > {self.path}/{'tasks' if self.v1 else 'cgroup.procs'}; " if self.path else ""

    def usage(self) -> float:
        """Seconds of CPU."""
        if not self.path:
            return 0.0
        if self.v1:
            with open(self.path + "/cpuacct.usage") as f:
                return int(f.read()) / 1e9
        with open(self.path + "/cpu.stat") as f:
            return int(f.readline().split()[1]) / 1e6


class Quiet:
    """Whether the machine is idle and at full speed. The CPUs of a virtual machine are not always equally fast."""

    def __init__(self) -> None:
        self.best = 1e9

    def spin(self) -> float:
        """Milliseconds that a fixed piece of work takes on the slowest CPU."""
        worst, cpus = 0.0, os.sched_getaffinity(0)
        try:
            for cpu in cpus:
                os.sched_setaffinity(0, {cpu})
                times = []
                for _ in range(5):
                    began, x = time.perf_counter(), 0
                    for i in range(200000):
                        x += i * i & 7
                    times.append(1000 * (time.perf_counter() - began))
                worst = max(worst, statistics.median(times))
        finally:
            os.sched_setaffinity(0, cpus)
        self.best = min(self.best, worst)
        return worst

    def slow(self) -> float:
        """How many times longer it takes now than at its best."""
        return self.spin() / self.best

    def wait(self, limit: float, share: float = 0.06) -> bool:
        """Until it is quiet, for ``limit`` seconds at most; whether it became so."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            busy, began = cpu_busy(), time.monotonic()
            time.sleep(0.4)
            if (cpu_busy() - busy) / (time.monotonic() - began) / CORES < share and self.slow() < 1.2:
                return True
        return False


class Peak(threading.Thread):
    """The most memory that processes have had while it runs: a look every tenth of a second."""

    def __init__(self, pids: Callable[[], list[int]], every: float = 0.1) -> None:
        super().__init__(daemon=True)
        self.pids, self.every, self.ended = pids, every, threading.Event()
        self.pss = self.anon = 0.0

    def run(self) -> None:
        while not self.ended.wait(self.every):
            now = memory(self.pids())
            self.pss = max(self.pss, now["pss_mb"])
            self.anon = max(self.anon, now["anon_mb"])

    def __enter__(self) -> Peak:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.join()

    def result(self) -> dict[str, float]:
        return {"peak_pss_mb": self.pss, "peak_anon_mb": self.anon}
