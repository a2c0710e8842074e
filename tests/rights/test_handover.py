"""What an earlier root left in our folder is mail_owner's; what mail_owner may have put there for us to give away is not."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from lanmail.rights.handover import hand_over

UID, GID = 64001, 64002


class HandOverTests(SynchronousTestCase):
    def setUp(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root gives files away")
        self.folder = Path(os.path.abspath(self.mktemp()))
        self.folder.mkdir(mode=0o700)
        os.chown(self.folder, UID, GID)

    def put(self, name: str, mode: int = 0o644, owner: int = 0) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        path.chmod(mode)
        os.chown(path, owner, 0)
        return path

    def give(self) -> list[str]:
        return hand_over(str(self.folder), UID, GID)

    def whose(self, path: Path) -> tuple[int, int, int]:
        facts = path.lstat()
        return facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode)

    def test_databases_redo_journals_indexes_and_all_that_is_ours_is_handed_over(self) -> None:
        names = (
            *("journal-0", "journal-0-wal", "journal-0-shm", "history-0", "history-12-wal", "lock"),
            *("incoming/222CF6745D", "mailboxes/ann", "uidls/ann", "indexes/ann", "claims/ann"),
        )
        paths = [self.put(name) for name in names]
        self.assertEqual(self.give(), [])
        self.assertEqual({self.whose(path) for path in paths}, {(UID, GID, 0o600)})
        self.assertEqual(self.whose(self.folder / "incoming"), (UID, GID, 0o700))
        self.assertEqual(self.give(), [])

    def test_what_is_theirs_already_stays_as_it_is(self) -> None:
        path = self.put("journal-0", 0o640, UID)
        self.assertEqual(self.give(), [])
        self.assertEqual(self.whose(path), (UID, 0, 0o640))

    def test_a_file_by_another_name_is_not_ours_to_give(self) -> None:
        paths = [self.put("notes"), self.put("other/file"), self.put("journal-x"), self.put("incoming/below/file")]
        self.give()
        self.assertEqual({self.whose(path)[0] for path in paths}, {0})

    def test_no_link_of_either_kind_gives_anything_away(self) -> None:
        secret = Path(os.path.abspath(self.mktemp()))
        secret.write_bytes(b"secret")
        (self.folder / "journal-0").symlink_to(secret)
        os.link(secret, self.folder / "history-0")
        (self.folder / "claims").mkdir()
        (self.folder / "claims" / "ann").symlink_to(secret)
        elsewhere = Path(os.path.abspath(self.mktemp()))
        elsewhere.mkdir()
        (elsewhere / "ann").write_bytes(b"secret")
        (self.folder / "indexes").symlink_to(elsewhere)
        told = "\n".join(self.give())
        for words in (
            "journal-0 stays",
            "history-0 stays as it is: it has 2 names",
            "claims/ann stays",
            "indexes stays",
        ):
            self.assertIn(words, told)
        for path in (secret, elsewhere, elsewhere / "ann"):
            self.assertEqual(self.whose(path)[0], 0)

    def test_what_is_no_file_or_somebody_else_s_stays_and_is_told(self) -> None:
        os.mkfifo(self.folder / "journal-0")
        (self.folder / "journal-1").mkdir()
        with socket.socket(socket.AF_UNIX) as sock:
            short = os.open(self.folder, os.O_RDONLY)
            sock.bind(f"/proc/self/fd/{short}/history-0")
            os.close(short)
        self.put("history-1", owner=64009)
        told = self.give()
        self.assertEqual(len(told), 4, told)
        self.assertIn("belongs to uid 64009", "\n".join(told))

    def test_whoever_is_not_root_has_nothing_to_give(self) -> None:
        self.put("journal-0")
        self.patch(os, "geteuid", lambda: UID)
        self.assertEqual(self.give(), [])
