from __future__ import annotations

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from lanmail.admin.command import main


class TestTheDoor(SynchronousTestCase):
    def test_no_summary_is_cut_on_a_terminal_of_80_columns(self) -> None:
        result = CliRunner().invoke(main, ["--help"], terminal_width=80)
        listed = result.output.partition("Commands:\n")[2].splitlines()
        self.assertEqual([line.split()[0] for line in listed], sorted(main.commands))
        for line in listed:
            self.assertTrue(line.endswith(".") and not line.endswith("..."), line)

    def test_every_command_that_reads_a_main_cf_takes_it_by_the_same_letter(self) -> None:
        for name, command in main.commands.items():
            letters = [option.opts for option in command.params if "--config" in option.opts]
            self.assertEqual(letters, [["--config", "-c"]], name)
