"""docs/security.md is held to what it says: the tests that it names are there, can run, and in a run of all tests did."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

PAGE = Path(__file__).resolve().parent.parent / "docs" / "security.md"
# In the order of their table. The web has no test as it has no code.
CLASSES = 19
TROUBLES = 17


def named() -> list[str]:
    """The tests that the page names, each once."""
    return list(
        dict.fromkeys(
            re.findall(r"`(tests\.[\w.]+\.test_\w+\.\w+\.test_\w+|tests\.test_\w+\.\w+\.test_\w+)`", PAGE.read_text())
        )
    )


def not_run(ran: set[str]) -> list[str]:
    """Those of the page that are not among the names of tests that ran and passed."""
    return [name for name in named() if name not in ran]


class SecurityPageTests(SynchronousTestCase):
    def rows(self, heading: str) -> list[list[str]]:
        section = PAGE.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
        lines = [line for line in section.splitlines() if line.startswith("| ")]
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]

    def test_each_test_that_it_names_exists_and_is_not_switched_off(self) -> None:
        self.assertGreater(len(named()), 80)
        for name in named():
            module, case, method = name.rsplit(".", 2)
            found = getattr(importlib.import_module(module), case, None)
            self.assertTrue(inspect.isclass(found), name)
            test = getattr(found, method, None)
            self.assertTrue(callable(test), name)
            for one in (found, test):
                self.assertFalse(getattr(one, "skip", None) or getattr(one, "todo", None), name)

    def test_everything_in_backticks_that_looks_like_a_test_is_one(self) -> None:
        looks = set(re.findall(r"`(tests\.[^`]*)`", PAGE.read_text()))
        self.assertEqual(looks, set(named()))

    def test_each_class_and_each_trouble_has_its_test(self) -> None:
        for heading, count in (("What broke elsewhere", CLASSES), ("What goes wrong, and what then happens", TROUBLES)):
            rows = self.rows(heading)
            self.assertGreaterEqual(len(rows), count, heading)
            for row in rows:
                self.assertEqual(len(row), 3, row)
                self.assertTrue("`tests." in row[2] or row[0] == "the web side", row)

    def test_it_says_who_is_kept_from_what_and_warns_of_proxies(self) -> None:
        text = PAGE.read_text()
        for words in (
            "stranger on the network",
            "user with a shell here",
            "hostile mail",
            "hostile client",
            "stolen backup",
        ):
            self.assertIn(f"**{words}**", text)
        for word in ("stunnel", "haproxy", "`proxy_networks`"):
            self.assertIn(word, text)

    def test_what_did_not_run_is_missed(self) -> None:
        everything = set(named())
        self.assertEqual(not_run(everything), [])
        first = min(everything)
        self.assertEqual(not_run(everything - {first}), [first])
