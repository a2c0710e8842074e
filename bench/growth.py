"""bench/curves: how long things take as there is more of something: letters, users, connections, rows in the queue, recipients."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from bench.backlog import SPOOL, fill, forget
from bench.comparison import prepare
from bench.generator import Result, Session, load, run_id, wait_delivered
from bench.plot import Series, exponents, said_of, svg
from bench.seeds import lay_huge
from bench.surroundings import HERE, ROOT, SCRATCH, machine, stop_servers_at_the_end
from bench.target import Broken, Target
from bench.whole import w8

# What is cheap is measured so often at each amount, in each run.
TIMES = 3
# With --quick no amount is begun later; the largest takes some two minutes, and the last may be the largest.
QUICK_SECONDS = 1200.0


def powers(least: int, most: int) -> Iterator[int]:
    """The least, ten times as many, and so on, and the most."""
    while least < most:
        yield least
        least *= 10
    yield most


def mailbox(target: Target, points: Iterable[int], out: Series) -> None:
    """A POP3 session on a mailbox of so many letters of 1 KiB: the first one, later ones, and one that deletes."""
    out |= {name: [] for name in ("first open", "open again", "UIDL", "QUIT after a DELE")}
    target.start()
    lay_huge(target, "u001", 1, 1024)
    _opened(target)  # the login is remembered from here on: PAM's time is not the mailbox's
    for letters in points:
        target.reset()
        lay_huge(target, "u001", letters, 1024)
        first, *again = (_opened(target) for _ in range(6))
        last = Session(target, "u001", "pw-u001")
        named, _ = last.listing("UIDL")
        last.command(f"DELE {(letters + 1) // 2}")
        out["first open"].append((letters, [first]))
        out["open again"].append((letters, again))
        out["UIDL"].append((letters, [named]))
        out["QUIT after a DELE"].append((letters, [last.quit()]))
        print(f"mailbox {letters}: " + _last(out), flush=True)


def recipients(target: Target, points: Iterable[int], out: Series) -> None:
    """One message to so many people of a passwd-file, one message after the other."""
    out |= {"message accepted": [], "message delivered": []}
    names = [f"u{number:03d}" for number in range(1000)]
    with _passwd_file(target, "u###") as write:
        write(names)
        target.start()
        for people in points:
            total = 10 if people <= 100 else 3
            options = {"lo": 0, "hi": len(names) - 1, "rcpts": people}
            accepted, delivered = [], []
            for _ in range(TIMES):
                run = run_id()
                sent = load(target, "smtp", total=total, conc=1, runid=run, time_limit=60, **options)
                accepted.append(_accepted(sent, f"{people} recipients"))
                got, _, last = wait_delivered(target, run, total * people, 60)
                if got != total * people:
                    raise Broken(f"{people} recipients: {got} copies of {total * people}")
                delivered.append((last - sent["t_start"]) / total)
            out["message accepted"].append((people, accepted))
            out["message delivered"].append((people, delivered))
            print(f"recipients {people}: " + _last(out), flush=True)


def _accepted(sent: Result, of: str) -> float:
    """Seconds, half of the messages less. Broken where one was refused."""
    if sent["errors"] or not sent["ok"]:
        raise Broken(f"{of}: {sent['first_error']}")
    return float(sent["tx_ms"]["p50"]) / 1000


def connections(target: Target, points: Iterable[int], out: Series) -> None:
    """A new client's banner while so many others say nothing."""
    out |= {"SMTP banner": [], "POP3 banner": []}
    target.start()
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    needs = "from lanmail.service import CLIENT_DESCRIPTORS as c, OWN_DESCRIPTORS as o"
    # An eighth is kept for clients of other addresses (reserved_connections), and some for the new ones.
    most = int(_asked(f"{needs}; print(({descriptors} - o) // c)")) * 7 // 8 - 50
    for wanted in points:
        clients = min(wanted, most)
        if clients < wanted:
            print(
                f"{clients} connections, not {wanted}: lanmail lets in no more with {descriptors} descriptors (ulimit -Hn)"
            )
        seen = w8(target, clients / 5000)
        for mode, name in (("smtp", "SMTP banner"), ("pop3", "POP3 banner")):
            held = int(seen[mode]["held"]["with_banner"])
            if held != clients or not seen[mode]["new_banner_ms"]:
                raise Broken(f"{clients} connections: {held} were greeted; {seen[mode]['held'].get('first_error', '')}")
            out[name].append((clients, [ms / 1000 for ms in seen[mode]["new_banner_ms"]]))
        print(f"connections {clients}: " + _last(out), flush=True)


def users(target: Target, points: Iterable[int], out: Series) -> None:
    """A passwd-file of so many people: start, a message to one of the last of them, their logins, and one when the file has changed."""
    kinds = ("start", "message accepted", "first login", "login again", "login, file changed")
    out |= {name: [] for name in kinds}
    with _passwd_file(target, "u#####") as write:
        for people in points:
            names = [f"u{number:05d}" for number in range(1, people + 1)]
            target.stop()
            forget()
            write(names)
            out["start"].append((people, _started(target)))
            options = {"lo": people - 9, "hi": people, "time_limit": 60}
            sent = [load(target, "smtp", total=30, conc=1, runid=run_id(), **options) for _ in range(TIMES)]
            out["message accepted"].append((people, [_accepted(one, f"{people} users") for one in sent]))
            # Within two seconds after a change of the file no login is remembered (docs/accounts.md).
            time.sleep(2.5)
            first, *again = (_login(target, names[-1]) for _ in range(10))
            out["first login"].append((people, [first]))
            out["login again"].append((people, again))
            changed = []
            for _ in range(TIMES):
                write(names)
                changed.append(_login(target, names[-1]))
            out["login, file changed"].append((people, changed))
            print(f"users {people}: " + _last(out), flush=True)


@contextlib.contextmanager
def _passwd_file(target: Target, names: str) -> Iterator[Callable[[list[str]], None]]:
    """Accounts of a passwd-file and mailboxes of their own, instead of the system's. Gives what writes the file.

    names: the pattern of a name, for the load generator. All have one password: to hash fifty thousand takes longer than the curve.
    """
    path, folder = os.path.join(SPOOL, "passwd"), os.path.join(SPOOL, "mail")
    before = target.mail_dir, target.said.get("rcpt")
    hashed = _asked("from lanmail.accounts.hashes import hash_password; print(hash_password('a-password'))")

    def write(people: list[str]) -> None:
        with open(path + ".new", "w") as f:
            os.fchmod(f.fileno(), 0o600)
            f.writelines(f"{name}:{hashed}\n" for name in people)
        os.replace(path + ".new", path)

    target.stop()
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    shutil.chown(folder, "root", "mail")
    os.chmod(folder, 0o2775)
    os.environ["LANMAIL_EXTRA"] = f"accounts = passwd-file:{path}\nmail_spool_directory = {folder}"
    target.mail_dir, target.said["rcpt"] = folder, names + "@iscb-corporation.com"
    try:
        yield write
    finally:
        target.stop()
        del os.environ["LANMAIL_EXTRA"]
        target.mail_dir, target.said["rcpt"] = before[0], before[1] or "u###@iscb-corporation.com"
        shutil.rmtree(folder, ignore_errors=True)


def _asked(program: str) -> str:
    """What a line of Python says, in the interpreter that lanmail has."""
    command = [os.environ["LANMAIL_PYTHON"], "-c", program]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def _login(target: Target, name: str) -> float:
    """Seconds from PASS to its answer."""
    one = Session(target, name, "a-password")
    one.quit()
    return one.login_s


def queue(target: Target, points: Iterable[int], out: Series) -> None:
    """Start, a message and the queue's list, while so many rows wait for a mailbox that could not be written to."""
    out |= {name: [] for name in ("start", "message accepted", "lanmail queue list")}
    for rows in points:
        fill(target, rows)
        out["start"].append((rows, _started(target)))
        accepted = []
        for _ in range(TIMES):
            run = run_id()
            sent = load(target, "smtp", total=20, conc=1, lo=2, hi=9, runid=run, time_limit=60)
            accepted.append(_accepted(sent, f"{rows} rows"))
            wait_delivered(target, run, 20, 20)
        out["message accepted"].append((rows, accepted))
        out["lanmail queue list"].append((rows, [_listed(rows) for _ in range(1 if rows > 100_000 else TIMES)]))
        target.stop()
        print(f"queue {rows}: " + _last(out), flush=True)


def _listed(rows: int) -> float:
    """Seconds that ``lanmail queue list`` takes to show so many."""
    program = "from lanmail.admin.command import main; main()"
    command = [os.environ["LANMAIL_PYTHON"], "-c", program, "queue", "list", "-c", os.path.join(SPOOL, "main.cf")]
    with tempfile.TemporaryFile(dir=SCRATCH) as shown:  # of a million a quarter of a gigabyte
        began = time.monotonic()
        listed = subprocess.run(command, cwd=ROOT, stdout=shown, stderr=subprocess.PIPE, check=False)
        seconds = time.monotonic() - began
        shown.seek(max(0, shown.seek(0, os.SEEK_END) - 100))
        # Its last line, "-- 30 Kbytes in 1000 Requests.", counts them.
        last = shown.read().decode().split()
    if listed.returncode or (rows and int(last[-2]) < rows):
        raise Broken(f"lanmail queue list: {' '.join(last)} {listed.stderr[-300:].decode()}")
    return seconds


def _started(target: Target) -> list[float]:
    """Seconds until SMTP greets, of some starts; then it runs."""
    seconds = []
    for _ in range(TIMES):
        target.stop()
        seconds.append(target.start()[target.smtp or 0])
    return seconds


def _opened(target: Target) -> float:
    """Seconds that a session takes to open."""
    one = Session(target, "u001", "pw-u001")
    one.quit()
    return one.open_s


def _last(out: Series) -> str:
    return ", ".join(f"{name} {statistics.median(line[-1][1]) * 1000:.2f} ms" for name, line in out.items() if line)


Measure = Callable[[Target, Iterable[int], Series], None]
"""Adds to the series as it goes, so that what was measured is there if it breaks."""

CURVES: dict[str, tuple[Measure, list[int], str, str]] = {
    "mailbox": (mailbox, list(powers(1, 500_000)), "letters in the mailbox, 1 KiB each", "A mailbox of many letters"),
    "users": (users, list(powers(10, 50_000)), "users in the passwd-file", "Many users"),
    "connections": (connections, list(powers(1, 10_000)), "idle connections", "A new client beside many idle ones"),
    "queue": (queue, [0, *powers(1, 1_000_000)], "rows in the queue", "A long queue"),
    "recipients": (recipients, list(powers(1, 1000)), "recipients of a message", "A message to many"),
}


def added(old: Series, new: Series) -> Series:
    """Both, by how much there was; what was measured again replaces what was there."""
    return {name: sorted({**dict(old.get(name, [])), **dict(new.get(name, []))}.items()) for name in {**old, **new}}


def together(runs: Sequence[Series]) -> Series:
    """Of several runs: each time counts."""
    out: Series = {}
    for run in runs:
        for name, line in run.items():
            of = dict(out.get(name, []))
            for x, seconds in line:
                of[x] = [*of.get(x, []), *seconds]
            if of:
                out[name] = sorted(of.items())
    return out


def in_time(points: Iterable[int], until: float) -> Iterator[int]:
    """As many of them as are begun before that time of the monotonic clock; what is left out is said."""
    for point in points:
        if time.monotonic() >= until:
            print(f"{point} left out: the time is over", flush=True)
        else:
            yield point


def _kept(path: str) -> Series:
    try:
        with open(path) as f:
            return {name: [(x, seconds) for x, seconds in line] for name, line in json.load(f)["seconds"].items()}
    except FileNotFoundError:
        return {}


def main(about: str) -> str | None:
    """An error, as sys.exit takes it."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(CURVES))
    parser.add_argument("--runs", type=int, default=3, help="each curve so often; what spreads is drawn")
    parser.add_argument("--quick", action="store_true", help="once; after 20 minutes no new amount is begun")
    parser.add_argument("--most", type=int, help="go no further than so many")
    parser.add_argument("--points", help="measure these (1,1000) and add them to what was measured before")
    parser.add_argument("--out", default=os.path.join(HERE, "results"), help="folder for curve-mailbox.json, …")
    parser.add_argument("--svg", default=os.path.join(ROOT, "docs", "curves"), help="folder for mailbox.svg, …")
    parser.add_argument("--draw", action="store_true", help="measure nothing, draw what was measured")
    said = parser.parse_args()
    names = said.only.split(",")
    if unknown := [name for name in names if name not in CURVES]:
        return f"unknown: {', '.join(unknown)}; there are {', '.join(CURVES)}"
    if not said.draw and (trouble := prepare([], install=False)):
        return trouble
    for folder in (said.out, said.svg):
        os.makedirs(folder, exist_ok=True)
    until = time.monotonic() + QUICK_SECONDS if said.quick else float("inf")
    target = Target(os.path.join(HERE, "targets", "lanmail.json"))
    stop_servers_at_the_end()
    facts = machine()
    broken: list[str] = []
    try:
        for name in names:
            measure, points, across, title = CURVES[name]
            path = os.path.join(said.out, f"curve-{name}.json")
            series = _kept(path) if said.draw or said.points else {}
            if not said.draw:
                chosen = [int(point) for point in said.points.split(",")] if said.points else points
                chosen = [point for point in chosen if point <= (said.most or point)]
                runs: list[Series] = []
                for _ in range(1 if said.quick else said.runs):
                    # Whatever ended a curve early may have left a million rows, and a server that has them.
                    target.end_leftovers()
                    forget()
                    runs.append({})
                    try:
                        measure(target, in_time(chosen, until), runs[-1])
                    except Broken as error:
                        broken.append(f"{name}: {error}")
                        print(broken[-1], flush=True)
                    target.stop()
                series = added(series, together(runs))
                with open(path, "w") as f:
                    json.dump({"machine": facts, "seconds": series, "exponents": exponents(series)}, f, indent=1)
            for line, power in exponents(series).items():
                print(f"{name}, {line}: {said_of(power)}")
            with open(os.path.join(said.svg, f"{name}.svg"), "w") as f:
                f.write(svg(title, across, series))
    finally:
        if not said.draw:
            target.reset()
            target.stop()
            forget()
    return "\n".join(broken) or None
