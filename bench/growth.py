"""bench/curves: how long things take as there is more of something: letters, users, connections, rows in the queue, recipients."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator

from bench.backlog import SPOOL, fill, forget
from bench.comparison import prepare
from bench.generator import Result, Session, load, run_id, wait_delivered
from bench.plot import Series, exponents, svg
from bench.seeds import lay_huge
from bench.surroundings import HERE, ROOT, machine, stop_servers_at_the_end
from bench.target import Broken, Target
from bench.whole import w8


def powers(least: int, most: int) -> Iterator[int]:
    """The least, ten times as many, and so on, and the most."""
    while least < most:
        yield least
        least *= 10
    yield most


def mailbox(target: Target, points: list[int]) -> Series:
    """A POP3 session on a mailbox of so many letters of 1 KiB: the first one, later ones, and one that deletes."""
    out: Series = {name: [] for name in ("first open", "open again", "UIDL", "QUIT after a DELE")}
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
        out["first open"].append((letters, first))
        out["open again"].append((letters, statistics.median(again)))
        out["UIDL"].append((letters, named))
        out["QUIT after a DELE"].append((letters, last.quit()))
        print(f"mailbox {letters}: " + _last(out), flush=True)
    return out


def recipients(target: Target, points: list[int]) -> Series:
    """One message to so many people of a passwd-file, one message after the other."""
    out: Series = {"message accepted": [], "message delivered": []}
    names = [f"u{number:03d}" for number in range(1000)]
    with _passwd_file(target, "u###") as write:
        write(names)
        target.start()
        for people in points:
            run, total = run_id(), 30 if people <= 100 else 5
            options = {"lo": 0, "hi": len(names) - 1, "rcpts": people}
            sent = load(target, "smtp", total=total, conc=1, runid=run, time_limit=60, **options)
            out["message accepted"].append((people, _accepted(sent, f"{people} recipients")))
            got, _, last = wait_delivered(target, run, total * people, 60)
            if got != total * people:
                raise Broken(f"{people} recipients: {got} copies of {total * people}")
            out["message delivered"].append((people, (last - sent["t_start"]) / total))
            print(f"recipients {people}: " + _last(out), flush=True)
    return out


def _accepted(sent: Result, of: str) -> float:
    """Seconds, half of the messages less. Broken where one was refused."""
    if sent["errors"] or not sent["ok"]:
        raise Broken(f"{of}: {sent['first_error']}")
    return float(sent["tx_ms"]["p50"]) / 1000


def connections(target: Target, points: list[int]) -> Series:
    """A new client's banner while so many others say nothing."""
    out: Series = {"SMTP banner": [], "POP3 banner": []}
    target.start()
    for clients in points:
        seen = w8(target, clients / 5000)
        for mode, name in (("smtp", "SMTP banner"), ("pop3", "POP3 banner")):
            if seen[mode]["new_banner_ms_p50"] is not None:
                out[name].append((clients, seen[mode]["new_banner_ms_p50"] / 1000))
        print(f"connections {clients}: " + _last(out), flush=True)
    return out


def users(target: Target, points: list[int]) -> Series:
    """A passwd-file of so many people: start, a message to one of the last of them, their logins, and one when the file has changed."""
    kinds = ("start", "message accepted", "first login", "login again", "login, file changed")
    out: Series = {name: [] for name in kinds}
    with _passwd_file(target, "u#####") as write:
        for people in points:
            names = [f"u{number:05d}" for number in range(1, people + 1)]
            target.stop()
            forget()
            write(names)
            out["start"].append((people, target.start()[target.smtp or 0]))
            sent = load(target, "smtp", total=100, conc=1, lo=people - 9, hi=people, runid=run_id(), time_limit=60)
            out["message accepted"].append((people, _accepted(sent, f"{people} users")))
            # Within two seconds after a change of the file no login is remembered (docs/accounts.md).
            time.sleep(2.5)
            first, *again = (_login(target, names[-1]) for _ in range(10))
            out["first login"].append((people, first))
            out["login again"].append((people, statistics.median(again)))
            write(names)
            out["login, file changed"].append((people, _login(target, names[-1])))
            print(f"users {people}: " + _last(out), flush=True)
    return out


@contextlib.contextmanager
def _passwd_file(target: Target, names: str) -> Iterator[Callable[[list[str]], None]]:
    """Accounts of a passwd-file and mailboxes of their own, instead of the system's. Gives what writes the file.

    names: the pattern of a name, for the load generator. All have one password: to hash fifty thousand takes longer than the curve.
    """
    path, folder = os.path.join(SPOOL, "passwd"), os.path.join(SPOOL, "mail")
    before = target.mail_dir, target.said.get("rcpt")
    program = "from lanmail.accounts.hashes import hash_password; print(hash_password('a-password'))"
    command = [os.environ["LANMAIL_PYTHON"], "-c", program]
    hashed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

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


def _login(target: Target, name: str) -> float:
    """Seconds from PASS to its answer."""
    one = Session(target, name, "a-password")
    one.quit()
    return one.login_s


def queue(target: Target, points: list[int]) -> Series:
    """Start, a message and the queue's list, while so many rows wait for a mailbox that could not be written to."""
    out: Series = {name: [] for name in ("start", "message accepted", "lanmail queue")}
    for rows in points:
        fill(target, rows)
        out["start"].append((rows, target.start()[target.smtp or 0]))
        run = run_id()
        sent = load(target, "smtp", total=50, conc=1, lo=2, hi=9, runid=run, time_limit=60)
        if not sent["ok"]:
            raise Broken(f"{rows} rows: {sent['first_error']}")
        out["message accepted"].append((rows, sent["tx_ms"]["p50"] / 1000))
        wait_delivered(target, run, 50, 20)
        began = time.monotonic()
        program = "from lanmail.admin.command import main; main()"
        command = [os.environ["LANMAIL_PYTHON"], "-c", program, "queue", "list", "-c", os.path.join(SPOOL, "main.cf")]
        listed = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if listed.returncode:
            print(f"lanmail queue: {listed.stderr[-300:]}", flush=True)
        else:
            out["lanmail queue"].append((rows, time.monotonic() - began))
        target.stop()
        print(f"queue {rows}: " + _last(out), flush=True)
    return {name: line for name, line in out.items() if line}


def _opened(target: Target) -> float:
    """Seconds that a session takes to open."""
    one = Session(target, "u001", "pw-u001")
    one.quit()
    return one.open_s


def _last(out: Series) -> str:
    return ", ".join(f"{name} {line[-1][1] * 1000:.2f} ms" for name, line in out.items() if line)


CURVES: dict[str, tuple[Callable[[Target, list[int]], Series], list[int], str]] = {
    "mailbox": (mailbox, list(powers(1, 500_000)), "letters in the mailbox"),
    "users": (users, list(powers(10, 50_000)), "users in the passwd-file"),
    "connections": (connections, list(powers(1, 10_000)), "idle connections"),
    "queue": (queue, [0, *powers(1, 1_000_000)], "rows in the queue"),
    "recipients": (recipients, list(powers(1, 1000)), "recipients of a message"),
}


def added(old: Series, new: Series) -> Series:
    """Both, by how much there was; what was measured again replaces what was there."""
    return {name: sorted({**dict(old.get(name, [])), **dict(new.get(name, []))}.items()) for name in {**old, **new}}


def _kept(path: str) -> Series:
    try:
        with open(path) as f:
            return {name: [(x, y) for x, y in line] for name, line in json.load(f)["seconds"].items()}
    except FileNotFoundError:
        return {}


def main(about: str) -> str | None:
    """An error, as sys.exit takes it."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(CURVES))
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
    target = Target(os.path.join(HERE, "targets", "lanmail.json"))
    stop_servers_at_the_end()
    facts = machine()
    try:
        for name in names:
            measure, points, across = CURVES[name]
            path = os.path.join(said.out, f"curve-{name}.json")
            series = _kept(path) if said.draw or said.points else {}
            if not said.draw:
                chosen = [int(point) for point in said.points.split(",")] if said.points else points
                # Whatever ended a curve early may have left a million rows, and a server that has them.
                target.end_leftovers()
                forget()
                series = added(series, measure(target, [point for point in chosen if point <= (said.most or point)]))
                target.stop()
                with open(path, "w") as f:
                    json.dump({"machine": facts, "seconds": series, "exponents": exponents(series)}, f, indent=1)
            for line, power in exponents(series).items():
                print(f"{name}, {line}: grows with the power {power:.2f} over the last decade")
            with open(os.path.join(said.svg, f"{name}.svg"), "w") as f:
                f.write(svg(f"Time against {across}", across, "seconds", series))
    finally:
        if not said.draw:
            target.reset()
            target.stop()
            forget()
    return None
