"""Whether a run of bench/run reached what it should: bench/goals.json is the word."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bench.figures import SHOWN, Results
from bench.goals import Goal, ahead_of_others, goals, judged, page, verdicts

AS_INSTALLED, TUNED = "postfix(default)+dovecot(default)", "postfix(tuned)+dovecot(tuned)"
RATE = Goal("W1", "accepted/s", "times", 4, (AS_INSTALLED, TUNED))
CPU = Goal("W1", "server CPU ms/message", "at most", 0.4)


def runs(*rates: float, **more: float) -> dict[str, list[dict[str, float]]]:
    return {"W1": [{"accepted_per_s": rate, **more} for rate in rates]}


class GoalTests(SynchronousTestCase):
    def test_every_goal_is_of_a_figure_that_the_table_shows(self) -> None:
        there = {(workload, label) for workload, label, _, _ in SHOWN}
        wanted = {(goal.workload, goal.label) for goal in goals() + ahead_of_others(["exim"])}
        self.assertEqual(wanted - there, set())

    def test_the_better_peer_is_the_one_to_beat(self) -> None:
        data: Results = {"lanmail": runs(3000), AS_INSTALLED: runs(700), TUNED: runs(800)}
        found = judged(RATE, "lanmail", data)
        self.assertEqual((found.found, found.reached), (3.75, False))

    def test_where_low_is_good_a_smaller_figure_is_so_many_times_better(self) -> None:
        goal = Goal("W1", "p99 ms", "times", 1, (TUNED,))
        data: Results = {
            "lanmail": {"W1": [{"tx_ms": {"p99": 5.0}}]},
            TUNED: {"W1": [{"tx_ms": {"p99": 20.0}}]},
        }
        found = judged(goal, "lanmail", data)
        self.assertEqual((found.found, found.reached), (4.0, True))

    def test_the_median_of_the_runs_decides(self) -> None:
        cpu: Results = {"lanmail": {"W1": [{"server_cpu_ms_per_msg": each} for each in (0.3, 0.35, 9.0)]}}
        self.assertTrue(judged(CPU, "lanmail", cpu).reached)

    def test_our_run_with_errors_does_not_count(self) -> None:
        data: Results = {"lanmail": runs(9000, errors=1), TUNED: runs(800)}
        found = judged(RATE, "lanmail", data)
        self.assertEqual((found.found, found.reached, found.why), (None, False, "with errors"))

    def test_a_peer_that_did_not_start_is_nobody_to_compare_with(self) -> None:
        data: Results = {"lanmail": runs(9000), TUNED: {"W1": [{"errors": 1, "first_error": "no banner"}]}}
        found = judged(RATE, "lanmail", data)
        self.assertEqual((found.reached, found.why), (None, "no peer to compare with"))

    def test_each_worker_beyond_the_first_may_have_more_memory(self) -> None:
        goal = Goal("W10", "PSS at rest MB", "at most", 55, (), 20)
        data: Results = {"lanmail": {"W10": [{"at_rest": {"pss_mb": 74.0}}]}}
        self.assertEqual([judged(goal, "lanmail", data, workers).reached for workers in (1, 2)], [False, True])

    def test_only_what_was_measured_is_judged_and_other_peers_are_to_be_left_behind(self) -> None:
        data: Results = {"lanmail": runs(900), "Exim": runs(1000), "popa3d": {}}
        found = verdicts(["lanmail", "Exim", "popa3d"], data)
        by_peer = {one.goal.peers: one.reached for one in found if one.goal.kind == "times"}
        self.assertEqual(by_peer, {("Exim",): False})

    def test_the_page_says_each_goal_and_how_many_are_reached(self) -> None:
        data: Results = {"lanmail": runs(4000), AS_INSTALLED: runs(700), TUNED: runs(800)}
        said = page([judged(RATE, "lanmail", data), judged(CPU, "lanmail", data)])
        self.assertIn("1 of 2 goals are reached", said)
        self.assertIn("| W1 | accepted/s | 4 times better than the better peer | 5x | reached |", said)
        self.assertIn("| W1 | server CPU ms/message | at most 0.4 | with errors | **not reached** |", said)
        self.assertEqual(page([]), "")
