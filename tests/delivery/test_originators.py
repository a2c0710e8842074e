from __future__ import annotations

from email.headerregistry import Address as Shown
from email.headerregistry import HeaderRegistry

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.delivery.originators import MAX_FIELD, Unclear, originators

ANN = "ann@lan.example"


def read(field: str | bytes) -> list[str]:
    octets = field.encode() if isinstance(field, str) else field
    return [f"{address.local}@{address.domain}" if address.domain else address.local for address in originators(octets)]


class UnderstoodTests(SynchronousTestCase):
    def test_one_address_however_it_is_written(self) -> None:
        for field in (
            "ann@lan.example",
            "<ann@lan.example>",
            "Ann <ann@lan.example>",
            '"Smith, Ann" <ann@lan.example>',
            '"bob@lan.example" <ann@lan.example>',
            '"Ann \\"the boss\\" <bob@lan.example>" <ann@lan.example>',
            "ann@lan.example (Ann (who is <bob@lan.example>) Smith)",
            "(bob@lan.example,) Ann (\\)) <ann@lan.example> (x)",
            "=?utf-8?q?Ann_Sm=C3=AFth?= =?iso-8859-1?b?Ym9iQGxhbi5leGFtcGxl?= <ann@lan.example>",
            "Anne-Sophie O'Neil Jr. <ann@lan.example>",
            "Änn <ann@lan.example>",
            "Ann\r\n Smith\r\n\t<ann@lan.example>",
            "ann @ lan . example",
            '"ann"@LAN.example.',
            "< ann@lan.example >",
            ", ann@lan.example,,",
            "Team: ann@lan.example;",
            "ann@lan.example, ANN@lan.example",
            "ann@lan.example <Ann@lan.example>",
        ):
            self.assertEqual([one.lower() for one in read(field)], [ANN], field)

    def test_names_in_an_old_charset_are_not_looked_at(self) -> None:
        self.assertEqual(read('"Dianaël" <ann@lan.example>'.encode("latin-1")), [ANN])

    def test_several_are_all_found(self) -> None:
        for field in (
            "ann@lan.example, Bob <bob@lan.example>",
            "Us: ann@lan.example, Bob <bob@lan.example>;",
            "A:ann@lan.example;, B: bob@lan.example;",
        ):
            self.assertEqual(read(field), [ANN, "bob@lan.example"], field)

    def test_local_parts_are_as_they_are_meant(self) -> None:
        self.assertEqual(read('"a\\"b c"@lan.example'), ['a"b c@lan.example'])
        self.assertEqual(read("ann.smith+x@[192.168.1.1]"), ["ann.smith+x@[192.168.1.1]"])
        self.assertEqual(read("root (Cron Daemon)"), ["root"])
        self.assertEqual(read("ΕΛΛΑΣ@bücher.example"), ["ΕΛΛΑΣ@xn--bcher-kva.example"])


class UnclearTests(SynchronousTestCase):
    def unclear(self, field: str | bytes) -> str:
        return str(self.assertRaises(Unclear, read, field))

    def test_what_can_be_read_in_two_ways_is_not_read(self) -> None:
        for field, why in (
            ("", "it names nobody"),
            ("  (ann@lan.example)", "it names nobody"),
            ("<>", "is empty"),
            ("Team:;", "it names nobody"),
            ("Ann Smith", "a name has no address behind it"),
            ("ann smith@lan.example", "a name has no address behind it"),
            ("Ann <bob@lan.example> ann@lan.example", "behind the >"),
            ("<ann@lan.example> <bob@lan.example>", "behind the >"),
            ("Ann <<ann@lan.example>>", "< and > do not match"),
            ("Ann <ann@lan.example", "< and > do not match"),
            ("ann@lan.example>", "< and > do not match"),
            ("ann@lan.example@evil.example", "more than one @"),
            ("<@evil.example:ann@lan.example>", "more than one @"),
            ("<ann:bob@lan.example>", "must be quoted"),
            ("<ann@lan.example, bob@lan.example>", "more than one @"),
            ('"ann@lan.example', 'a " has no other'),
            ("ann@lan.example (", "a ( has no )"),
            ("ann@lan.example)", "a ) stands where none may"),
            ("Team: ann@lan.example", "a group has no ;"),
            ("Team: A: ann@lan.example;;", "a : stands where none may"),
            ("Team: ann@lan.example; bob@lan.example", "behind a group"),
            ("ann@lan.example; bob@lan.example", "a ; stands where none may"),
            ("ann@", "no domain behind its @"),
            ("@lan.example", "nothing before its @"),
            ('ann@"lan.example"', "no domain behind its @"),
            ("ann@lan\\.example", "a \\\\ stands where none may"),
            ("ann@lan.example\0", "stands where none may"),
            # Without quotes this is no name: programs take one or the other for the address.
            ("ann@lan.example <bob@lan.example>", "must stand in quotes"),
            ("Ann @ work <ann@lan.example>", "must stand in quotes"),
            ("[Ann] <ann@lan.example>", "must stand in quotes"),
            (b"\xe4nn@lan.example", "not in UTF-8"),
            ("ann+\u202e@lan.example", "cannot be shown"),
            ('"ann\r\n x"@lan.example', "cannot be shown"),
            ("a" * MAX_FIELD + "@lan.example", "more than"),
            (",".join(f"a{n}@x.example" for n in range(60)), "names more than 50"),
        ):
            self.assertIn(why, self.unclear(field), field)

    @settings(max_examples=300, deadline=None)
    @given(
        st.lists(
            st.sampled_from([*'<>@,:;()"\\.[] ', "\r\n ", "ann", "lan.example", "=?utf-8?q?a?=", "é"]), max_size=25
        )
    )
    def test_whatever_stands_there_it_is_understood_or_unclear(self, pieces: list[str]) -> None:
        try:
            found = read("".join(pieces))
        except Unclear:
            return
        self.assertTrue(found)

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(
            st.tuples(st.text('ab ,<@>"\\.;:()é', max_size=8), st.text('ab.+"\\ @', min_size=1, max_size=6)),
            min_size=1,
            max_size=4,
        )
    )
    def test_what_a_careful_program_writes_is_read_as_it_was_meant(self, authors: list[tuple[str, str]]) -> None:
        meant = [Shown(name.strip(), local, "lan.example") for name, local in authors]
        found = read(", ".join(map(str, meant)))
        self.assertEqual(found, list(dict.fromkeys(f"{one.username}@lan.example" for one in meant)))

    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.sampled_from([*'<>@,:;()". ', "ann", "bob", "lan.example", "x.example"]), max_size=16))
    def test_no_address_that_pythons_reader_sees_is_left_out(self, pieces: list[str]) -> None:
        """Theirs guesses, ours does not: but where ours is content, nobody else is seen by theirs."""
        field = "".join(pieces)
        try:
            ours = {one.lower() for one in read(field)}
        except Unclear:
            return
        try:
            theirs = HeaderRegistry()("From", field).addresses
        except Exception:
            return  # they have their own troubles
        seen = {f"{one.username}@{one.domain}".lower() if one.domain else one.username for one in theirs}
        whole = {one for one in seen if "@" in one and not one.startswith("@")}
        self.assertEqual({one for one in whole if one not in ours and one.rstrip(".") not in ours}, set(), field)


class EffortTests(SynchronousTestCase):
    def test_at_its_full_length_a_field_of_anything_is_read_or_unclear(self) -> None:
        """Each took 7 ms at most where this was written: no piece makes the reader begin anew."""
        for piece in ("(", '"', "<", ",", "a.", "\\", "a,", '"a', "()", "@", ":", "a:;,", "<a@b>,", "=?a?q?b?= "):
            try:
                read((piece * MAX_FIELD)[:MAX_FIELD])
            except Unclear:
                pass
