"""Twin of lanmail/queue/reach.py."""

from __future__ import annotations

import os
import socket

from twisted.trial.unittest import SynchronousTestCase

from lanmail.queue.reach import LONGEST, Reach


class ReachTests(SynchronousTestCase):
    def test_a_path_that_fits_is_itself(self) -> None:
        reach = Reach("/run/lanmail/control")
        self.assertEqual(reach.open(), "/run/lanmail/control")
        reach.close()

    def test_a_path_that_does_not_leads_to_the_same_socket(self) -> None:
        folder = os.path.join(os.path.abspath(self.mktemp()), "ä" * 60, "b" * 100)
        os.makedirs(folder)
        path = os.path.join(folder, "control")
        self.assertGreater(len(os.fsencode(path)), LONGEST)
        there, here = Reach(path), Reach(path)
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
            server.bind(there.open())
            server.listen()
            client.connect(here.open())
        self.assertTrue(os.path.exists(path))
        for reach in (there, here, here):
            reach.close()

    def test_where_the_folder_is_not_there_it_says_so(self) -> None:
        self.assertRaises(FileNotFoundError, Reach("/nowhere/" + "x" * 200).open)
