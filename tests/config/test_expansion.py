from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.config.expansion import Undefined, expand, references
from lanmail.config.problems import BadValue

VALUES: Mapping[str, str] = {
    "name": "value",
    "empty": "",
    "outer": "<$name>",
    "dollar": "$$name",
    "level": "3.6",
    "a": "$b",
    "b": "x ${c}",
    "c": "$a",
    "self": "$self",
}


def come_to(text: str) -> str:
    return expand(text, VALUES.get)


class TestReferences(SynchronousTestCase):
    def test_the_three_ways_to_refer(self) -> None:
        self.assertEqual(come_to("$name,$(name),${name}"), "value,value,value")

    def test_a_name_ends_where_no_letter_digit_or_underscore_stands(self) -> None:
        self.assertEqual(come_to("localhost.$name."), "localhost.value.")
        self.assertEqual(come_to("${name}s"), "values")
        with self.assertRaises(Undefined) as caught:
            come_to("$names")
        self.assertEqual(caught.exception.name, "names")

    def test_what_is_in_the_values_is_expanded_too(self) -> None:
        self.assertEqual(come_to("$outer"), "<value>")

    def test_two_dollars_are_one(self) -> None:
        self.assertEqual(come_to("$$name costs $$5"), "$name costs $5")
        self.assertEqual(come_to("$dollar"), "$name")

    def test_a_backslash_escapes_nothing(self) -> None:
        self.assertEqual(come_to(r"\$name"), r"\value")

    def test_with_a_value_and_without(self) -> None:
        self.assertEqual(come_to("${name?yes} ${empty?yes} ${missing?yes}"), "yes  ")
        self.assertEqual(come_to("${name:no} ${empty:no} ${missing:no}"), " no no")
        self.assertEqual(come_to("${name?{yes}:{no}} ${empty?{yes}:{no}}"), "yes no")
        self.assertEqual(come_to("${empty?{10}:{300}}s"), "300s")

    def test_the_chosen_text_is_expanded_and_the_other_is_not_looked_at(self) -> None:
        self.assertEqual(come_to("${name?{$outer}:{$missing}}"), "<value>")
        self.assertEqual(come_to("${missing:$name}"), "value")

    def test_text_without_braces_runs_to_the_end(self) -> None:
        self.assertEqual(come_to("${name?a:b}"), "a:b")
        self.assertEqual(come_to("${empty?{a}:b c}"), "b c")


class TestComparisons(SynchronousTestCase):
    def compare(self, left: str, sign: str, right: str) -> bool:
        return come_to(f"${{{{{left}}} {sign} {{{right}}} ? {{yes}} : {{no}}}}") == "yes"

    def test_digits_are_compared_as_numbers(self) -> None:
        for sign, truth in (("==", False), ("!=", True), ("<", True), ("<=", True), (">", False), (">=", False)):
            self.assertEqual(self.compare("9", sign, "10"), truth, sign)
        self.assertTrue(self.compare("007", "==", "7"))
        self.assertTrue(self.compare("9" * 5000, "<", "1" + "0" * 5000))

    def test_everything_else_is_compared_as_text(self) -> None:
        self.assertTrue(self.compare("9x", ">", "10x"))
        self.assertTrue(self.compare("$name", "==", "value"))
        self.assertTrue(self.compare("", "<", "a"))
        self.assertFalse(self.compare(" a", "==", "a"))

    def test_levels_are_compared_as_releases(self) -> None:
        self.assertTrue(self.compare("3.10", ">level", "3.9"))
        self.assertTrue(self.compare("$level", ">=level", "2"))
        self.assertTrue(self.compare("3", "==level", "3.0"))
        self.assertFalse(self.compare("3.10", ">", "3.9"))
        with self.assertRaises(BadValue):
            self.compare("new", "<level", "2")

    def test_a_comparison_alone_is_true_or_nothing(self) -> None:
        self.assertEqual(come_to("${{a} == {a}}"), "true")
        self.assertEqual(come_to("${{a} == {b}}"), "")

    def test_white_space_is_free_between_the_parts(self) -> None:
        for text in ("${{a}=={a}?{c}:{d}}", "${ {a} == {a} ? {c} : {d} }", "${{a}\t==\n{a}?c}"):
            self.assertEqual(come_to(text), "c", text)

    def test_what_makes_no_sense_is_said(self) -> None:
        for text in (
            "$",
            "$ name",
            "${",
            "${}",
            "$(name",
            "${name",
            "${na-me}",
            "${name+x}",
            "${name?{a}b}",
            "${name?{a}:{b}c}",
            "${name?{a}",
            "${{a} = {b} ? {c}}",
            "${{a} == b ? {c}}",
            "${{a} ==nonsense {b} ? {c}}",
            "${{a} == {b} {c}}",
            "${{a}}",
        ):
            with self.assertRaises(BadValue, msg=text):
                come_to(text)


class TestTermination(SynchronousTestCase):
    def test_a_circle_is_found_and_shown_the_same_from_everywhere(self) -> None:
        for text in ("$a", "$b", "$c", "x $c"):
            with self.assertRaises(BadValue) as caught:
                come_to(text)
            self.assertEqual(str(caught.exception), "$a leads to itself: a -> b -> c -> a")
        with self.assertRaises(BadValue) as caught:
            come_to("$self")
        self.assertEqual(caught.exception.culprit, "self")

    def test_values_that_grow_without_end_are_stopped(self) -> None:
        values = {f"v{number}": f"$v{number + 1}" * 10 for number in range(20)} | {"v20": "x"}
        with self.assertRaises(BadValue):
            expand("$v0", values.get)

    def test_deep_nesting_is_stopped(self) -> None:
        for depth in (60, 5000):
            with self.assertRaises(BadValue):
                expand("${x:" * depth + "}" * depth, {}.get)
        with self.assertRaises(BadValue):
            expand("$v0", {f"v{number}": f"$v{number + 1}" for number in range(200)}.get)

    @given(
        st.dictionaries(st.sampled_from("abcd"), st.text(alphabet="abcd${}()?:=<>! xlev1", max_size=30)),
        st.text(alphabet="abcd${}()?:=<>! xlev1", max_size=40),
    )
    @settings(max_examples=300, deadline=None)
    def test_every_text_comes_to_an_end(self, values: dict[str, str], text: str) -> None:
        references(text)
        try:
            expand(text, values.get)
        except BadValue:
            pass


class TestNames(SynchronousTestCase):
    def test_all_names_are_found_whatever_the_condition(self) -> None:
        text = "$a ${b?{$c}:{$(d)}} ${{$e} == {x} ? {${f}} : {g}} $$h ${ i }"
        self.assertEqual(references(text), set("abcdefi"))

    def test_what_cannot_be_read_refers_to_nothing(self) -> None:
        self.assertEqual(references("${a"), set())
