"""``python -m tests.ran FILE ARGUMENT...``: trial with these arguments, and in FILE the names of the tests that ran and passed."""

from __future__ import annotations

import sys
from typing import Any

from twisted.scripts import trial
from twisted.trial import reporter


def main() -> None:
    path = sys.argv[1]
    sys.argv = ["trial", *sys.argv[2:]]
    succeeded = reporter.TestResult.addSuccess
    with open(path, "w", encoding="utf-8") as file:

        def note(result: Any, test: Any) -> None:
            print(test.id(), file=file, flush=True)
            succeeded(result, test)

        reporter.TestResult.addSuccess = note  # type: ignore[method-assign]
        trial.run()


if __name__ == "__main__":
    main()
