"""The pure parts of bench/curves: which amounts, how a curve grows, how two measurements become one, and the drawing."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from bench.growth import CURVES, added, in_time, powers, together
from bench.plot import exponents, said_of, svg


class CurveTests(SynchronousTestCase):
    def test_amounts_go_from_the_least_by_tens_to_the_most(self) -> None:
        self.assertEqual(list(powers(10, 50_000)), [10, 100, 1000, 10_000, 50_000])
        self.assertEqual(list(powers(1, 1)), [1])

    def test_the_curves_reach_as_far_as_they_promise(self) -> None:
        most = {name: max(points) for name, (_, points, _, _) in CURVES.items()}
        self.assertEqual(
            most,
            {"mailbox": 500_000, "users": 50_000, "connections": 10_000, "queue": 1_000_000, "recipients": 1000},
        )

    def test_the_exponent_tells_flat_linear_and_quadratic_apart_by_the_last_decade(self) -> None:
        amounts = (1, 10, 100, 1000)
        series = {f"{power}": [(float(n), [0.001 + 1e-6 * n**power]) for n in amounts] for power in (0, 1, 2)}
        self.assertEqual({name: round(x) for name, x in exponents(series).items()}, {"0": 0, "1": 0, "2": 2})
        far = {
            "linear": [(100_000.0, [1.0]), (1_000_000.0, [9.0, 10.0, 50.0])],
            "one point": [(1.0, [1.0])],
            "zero": [(0.0, [1.0])],
        }
        self.assertEqual(exponents(far), {"linear": 1.0})

    def test_what_is_measured_again_replaces_what_was_there(self) -> None:
        old = {"start": [(1.0, [5.0]), (10.0, [6.0])]}
        new = {"start": [(10.0, [7.0]), (2.0, [1.0])], "login": [(1.0, [1.0])]}
        both = {"start": [(1.0, [5.0]), (2.0, [1.0]), (10.0, [7.0])], "login": [(1.0, [1.0])]}
        self.assertEqual(added(old, new), both)

    def test_of_several_runs_each_time_counts(self) -> None:
        runs = [{"start": [(1.0, [5.0, 6.0]), (10.0, [7.0])]}, {"start": [(1.0, [4.0])]}]
        self.assertEqual(together(runs), {"start": [(1.0, [5.0, 6.0, 4.0]), (10.0, [7.0])]})

    def test_no_amount_is_begun_when_the_time_is_over(self) -> None:
        self.assertEqual(list(in_time([1, 10], float("inf"))), [1, 10])
        self.assertEqual(list(in_time([1, 10], 0.0)), [])

    def test_a_slope_is_said_in_words(self) -> None:
        words = [said_of(power).partition(":")[0] for power in (-0.1, 0.1, 0.5, 1.0, 1.5)]
        self.assertEqual(words, ["flat", "flat", "less than linear", "linear", "more than linear"])

    def test_the_drawing_is_xml_has_a_place_for_zero_and_looks_right_in_the_dark(self) -> None:
        drawn = svg("Time <against> rows", "rows", {"start & stop": [(0, [0.1, 0.05, 0.2]), (1000, [2.0])]})
        ElementTree.fromstring(drawn)
        self.assertIn("prefers-color-scheme: dark", drawn)
        self.assertIn(">0</text>", drawn)
        self.assertIn("start &amp; stop", drawn)
        self.assertEqual(drawn.count("<circle"), 2)
        self.assertEqual(drawn.count('<path class="spread'), 1)
        self.assertIn(">100 ms</text>", drawn)

    def test_no_name_stands_on_another(self) -> None:
        series = {f"line {n}": [(1.0, [1.0]), (10.0, [1.0 + n / 1000])] for n in range(5)}
        names = [
            e for e in ElementTree.fromstring(svg("t", "rows", series)).iter() if (e.text or "").startswith("line ")
        ]
        heights = sorted(float(name.attrib["y"]) for name in names)
        self.assertGreater(min(b - a for a, b in pairwise(heights)), 30)
