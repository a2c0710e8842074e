"""``python -m tests``: format and lint (ruff), types (mypy --strict), then every test (trial); one line of result at the end.

``python -m tests tests.smtp`` runs only those tests, and neither ruff nor mypy.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.test_security_doc import not_run

ROOT = Path(__file__).resolve().parent.parent
CODE = (
    "lanmail",
    "twisted",
    "tests",
    "etc/lanmail.tac",
    "bench",
    *(f"bench/{name}" for name in ("run", "counts", "profile", "curves")),
)


def checks() -> bool:
    """In CI a file that ruff would format otherwise is an error; at home it is formatted."""
    form = ["format", "--check"] if "CI" in os.environ else ["format"]
    commands = [["ruff", *form, *CODE], ["ruff", "check", *CODE], ["mypy"]]
    statuses = [subprocess.run([sys.executable, "-m", *command], cwd=ROOT).returncode for command in commands]
    return not any(statuses)


def trial(*names: str) -> tuple[int, str, set[str]]:
    """Trial's exit status, its last line, which counts, and the tests that passed; everything it prints is shown as it comes."""
    last = ""
    with tempfile.TemporaryDirectory(prefix="lanmail-tests-") as folder:
        ran = Path(folder) / "ran"
        command = [sys.executable, "-m", "tests.ran", str(ran), "--reporter", "text", *names]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
            assert run.stdout is not None
            for line in run.stdout:
                print(line, end="", flush=True)
                last = line.strip() or last
        return run.returncode, last, set(ran.read_text("utf-8").splitlines())


def main() -> int:
    well = True if sys.argv[1:] else checks()
    status, last, ran = trial(*(sys.argv[1:] or ["tests"]))
    result = re.fullmatch(r"(PASSED|FAILED)(?: \((.*)\))?", last)
    if result is None:
        print(f"trial ended without a result: {last!r}")
        return 1
    count = {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", result[2] or "")}
    failed = sum(count.get(name, 0) for name in ("failures", "errors", "unexpectedSuccesses"))
    skipped = count.get("skips", 0)
    passed = count.get("successes", 0) + count.get("expectedFailures", 0)
    named = True
    if not sys.argv[1:] and (missed := not_run(ran)):
        # At home some of them need root, or a program that is not there; in CI nothing is missing.
        print(f"docs/security.md names tests that did not pass: {', '.join(missed)}")
        named = "CI" not in os.environ
    if not well:
        print("ruff or mypy found something; see above")
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 0 if well and named and status == 0 and not failed and passed else 1


if __name__ == "__main__":
    sys.exit(main())
