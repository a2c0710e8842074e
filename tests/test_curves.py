"""The pure parts of bench/curves: which amounts, how a curve grows, how two measurements become one, and the drawing."""

from __future__ import annotations

from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from bench.growth import CURVES, added, powers
from bench.plot import exponents, svg


class CurveTests(SynchronousTestCase):
    def test_amounts_go_from_the_least_by_tens_to_the_most(self) -> None:
        self.assertEqual(list(powers(10, 50_000)), [10, 100, 1000, 10_000, 50_000])
        self.assertEqual(list(powers(1, 1)), [1])

    def test_the_curves_reach_as_far_as_they_promise(self) -> None:
        most = {name: max(points) for name, (_, points, _) in CURVES.items()}
        self.assertEqual(
            most,
            {"mailbox": 500_000, "users": 50_000, "connections": 10_000, "queue": 1_000_000, "recipients": 1000},
        )

    def test_the_exponent_tells_flat_linear_and_quadratic_apart_by_the_last_decade(self) -> None:
        amounts = (1, 10, 100, 1000)
        series = {f"{power}": [(float(n), 0.001 + 1e-6 * n**power) for n in amounts] for power in (0, 1, 2)}
        self.assertEqual({name: round(x) for name, x in exponents(series).items()}, {"0": 0, "1": 0, "2": 2})
        far = {"linear": [(100_000.0, 1.0), (1_000_000.0, 10.0)], "one point": [(1.0, 1.0)], "zero": [(0.0, 1.0)]}
        self.assertEqual(exponents(far), {"linear": 1.0})

    def test_what_is_measured_again_replaces_what_was_there(self) -> None:
        old, new = {"start": [(1.0, 5.0), (10.0, 6.0)]}, {"start": [(10.0, 7.0), (2.0, 1.0)], "login": [(1.0, 1.0)]}
        self.assertEqual(added(old, new), {"start": [(1.0, 5.0), (2.0, 1.0), (10.0, 7.0)], "login": [(1.0, 1.0)]})

    def test_the_drawing_is_xml_has_a_place_for_zero_and_looks_right_in_the_dark(self) -> None:
        drawn = svg("Time <against> rows", "rows", "seconds", {"start & stop": [(0, 0.1), (1000, 2.0)]})
        ElementTree.fromstring(drawn)
        self.assertIn("prefers-color-scheme: dark", drawn)
        self.assertIn(">0</text>", drawn)
        self.assertIn("start &amp; stop", drawn)
        self.assertEqual(drawn.count("<circle"), 2)
