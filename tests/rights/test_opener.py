"""What the opener opens for whom, asked in this process as root; and what it does while somebody swaps files under it."""

from __future__ import annotations

import fcntl
import os
import stat
import struct
import tempfile
import threading
import time
from pathlib import Path
from shutil import rmtree

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from lanmail.accounts.helper import Names
from lanmail.rights.channel import Frame, Noise
from lanmail.rights.duties import Duties
from lanmail.rights.opener import BUSY, CREATE, FAILED, FILE, NOBODY, NOT_ROOTS, OPEN, OPENED, UNSAFE, Opener
from tests.rights.test_trusted import folder_of_root

ANN = (b"ann", 64001, 64002, b"/home/ann")
MAIL = 64003


class OpenerTests(SynchronousTestCase):
    def setUp(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root opens others' mailboxes")
        self.folder = Path(tempfile.mkdtemp(prefix="lanmail-opener-"))
        self.addCleanup(rmtree, self.folder)
        self.spool = self.folder / "mail"
        self.spool.mkdir()
        self.opener = self.of(Duties(str(self.spool), ((1000, 65533),), group=MAIL))

    def of(self, duties: Duties) -> Opener:
        entries = {
            b"ann": ANN,
            b"root": (b"root", 0, 0, b"/root"),
            b"bin": (b"bin", 2, 2, b"/"),
            b"Bob": (b"bob", 64009, 1, b"/"),
        }
        names = Names()
        names.entry = entries.get  # type: ignore[method-assign, assignment]
        return Opener(duties, names)

    def ask(self, kind: bytes, *fields: bytes) -> tuple[bytes, str, int | None]:
        said, texts, fd = self.opener.answer(Frame(kind, fields))
        if fd is not None:
            self.addCleanup(os.close, fd)
        return said, b" ".join(texts).decode(), fd

    def put(self, name: str = "ann", owner: int = 64001, mode: int = 0o600) -> Path:
        path = self.spool / name
        path.write_bytes(b"From x\n")
        os.chown(path, owner, 0)
        path.chmod(mode)
        return path

    def test_a_mailbox_that_is_its_owner_s_alone_is_opened_for_reading_and_writing(self) -> None:
        path = self.put()
        said, _, fd = self.ask(OPEN, b"ann", b"64001")
        assert fd is not None
        self.assertEqual(said, OPENED)
        self.assertEqual(os.read(fd, 100), b"From x\n")
        self.assertEqual(os.write(fd, b"y"), 1)
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)

    def test_a_new_one_is_the_owner_s_and_the_group_s_whatever_the_umask_and_locked(self) -> None:
        before = os.umask(0o777)
        self.addCleanup(os.umask, before)
        said = self.ask(CREATE, b"ann", b"64001")[0]
        facts = (self.spool / "ann").stat()
        self.assertEqual((said, facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode)), (OPENED, 64001, MAIL, 0o660))
        other = os.open(self.spool / "ann", os.O_RDWR)
        self.addCleanup(os.close, other)
        self.assertRaises(
            OSError, fcntl.fcntl, other, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        )

    def test_without_a_group_a_new_one_is_the_owner_s_alone(self) -> None:
        self.opener = self.of(Duties(str(self.spool), ((1000, 65533),)))
        self.ask(CREATE, b"ann", b"64001")
        facts = (self.spool / "ann").stat()
        self.assertEqual((facts.st_gid, stat.S_IMODE(facts.st_mode)), (64002, 0o600))

    def test_what_is_there_is_not_made_and_what_is_not_is_not_opened(self) -> None:
        self.assertEqual(self.ask(OPEN, b"ann", b"64001")[:2], (FAILED, "2 No such file or directory"))
        self.put()
        said, text, _ = self.ask(CREATE, b"ann", b"64001")
        self.assertEqual((said, text[:2]), (FAILED, "17"))

    def test_for_a_person_and_for_root_and_for_nobody_else(self) -> None:
        self.assertEqual(self.ask(CREATE, b"root", b"0")[0], OPENED)
        for name, uid in (
            (b"bin", b"2"),
            (b"ann", b"64002"),
            (b"carl", b"64001"),
            (b"root", b"64001"),
            (b"Bob", b"64009"),
        ):
            for kind in (OPEN, CREATE):
                self.assertEqual(self.ask(kind, name, uid)[0], NOBODY, name)
        self.assertEqual(os.listdir(self.spool), ["root"])

    def test_a_name_that_is_a_path_or_a_lock_is_noise(self) -> None:
        for name in (
            b"../ann",
            b"/etc/shadow",
            b".",
            b"..",
            b"",
            b"a/b",
            b"ann.lock",
            b"ann\0",
            b"\xff",
            b"-x",
            b".forward",
        ):
            self.assertRaises(Noise, self.ask, CREATE, name, b"64001")

    def test_what_is_no_mailbox_of_theirs_is_not_opened(self) -> None:
        path = self.spool / "ann"
        secret = self.put("secret", owner=0)
        theirs = self.put("theirs")
        for make, words in (
            (lambda: path.symlink_to(secret), "a symbolic link"),
            (lambda: path.symlink_to("/nowhere"), "a symbolic link"),
            (lambda: os.link(secret, path), "2 names"),
            (lambda: os.link(theirs, path), "2 names"),
            (path.mkdir, "a folder"),
            (lambda: os.mkfifo(path), "not a file"),
            (lambda: self.put(owner=0), "belongs to uid 0"),
            (lambda: self.put(owner=64009), "belongs to uid 64009"),
        ):
            make()
            said, text, _ = self.ask(OPEN, b"ann", b"64001")
            self.assertEqual(said, UNSAFE)
            self.assertIn(words, text)
            self.assertEqual(self.ask(CREATE, b"ann", b"64001")[0], FAILED)
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()

    def test_a_folder_that_is_missing_is_no_user_without_mail(self) -> None:
        self.spool.rmdir()
        said, text, _ = self.ask(OPEN, b"ann", b"64001")
        self.assertEqual((said, text[:2]), (FAILED, "5 "))
        self.assertIn(str(self.spool), text)

    def test_files_are_root_s_to_hand_over_where_nobody_else_put_them(self) -> None:
        kept = folder_of_root(self)
        (kept / "key").write_text("key")
        (self.folder / "key").write_text("key")
        paths = [str(kept / "key"), str(self.folder / "key"), str(kept / "missing")]
        self.opener = self.of(Duties(str(self.spool), (), files=paths))
        self.assertEqual([self.ask(FILE, b"%d" % place)[0] for place in range(3)], [OPENED, NOT_ROOTS, FAILED])

    @settings(max_examples=300, deadline=None)
    @given(
        st.one_of(st.sampled_from([OPEN, CREATE, FILE]), st.binary(min_size=1, max_size=1)),
        st.lists(
            st.one_of(st.sampled_from([b"ann", b"64001", b"root", b"0", b"1"]), st.binary(max_size=12)), max_size=4
        ),
    )
    def test_any_question_is_answered_or_noise_and_nothing_but_mailboxes_is_made(
        self, kind: bytes, fields: list[bytes]
    ) -> None:
        try:
            said, _, fd = self.opener.answer(Frame(kind, fields))
        except Noise:
            pass
        else:
            self.assertIn(said, (OPENED, NOBODY, FAILED, UNSAFE, BUSY, NOT_ROOTS))
            if fd is not None:
                os.close(fd)
        self.assertLessEqual(set(os.listdir(self.spool)), {"ann", "root"})

    def test_a_race_of_links_and_files_opens_nothing_but_their_own_file(self) -> None:
        path = self.spool / "ann"
        secret = self.put("secret", owner=0)
        mine = self.put("mine")
        done = threading.Event()

        def swap() -> None:
            drafts = [self.spool / f".{n}" for n in range(3)]
            while not done.is_set():
                drafts[0].symlink_to(secret)
                os.rename(drafts[0], path)
                os.link(secret, drafts[1])
                os.rename(drafts[1], path)
                os.link(mine, drafts[2])
                os.rename(drafts[2], path)
                path.unlink(missing_ok=True)  # a rename onto another name of the same file leaves both
                drafts[2].unlink(missing_ok=True)

        racing = threading.Thread(target=swap)
        racing.start()
        try:
            end, opened, made = time.monotonic() + 1.0, 0, 0
            allowed = {mine.stat().st_ino}
            while time.monotonic() < end:
                for kind in (OPEN, CREATE):
                    said, _, fd = self.opener.answer(Frame(kind, (b"ann", b"64001")))
                    if fd is None:
                        self.assertIn(said, (UNSAFE, FAILED, BUSY))
                        continue
                    facts = os.fstat(fd)
                    os.close(fd)
                    self.assertEqual(facts.st_uid, 64001)
                    self.assertNotEqual(facts.st_ino, secret.stat().st_ino)
                    made += kind == CREATE
                    opened += kind == OPEN and facts.st_ino in allowed
        finally:
            done.set()
            racing.join()
        self.assertEqual((secret.read_bytes(), secret.stat().st_uid), (b"From x\n", 0))
        self.assertGreater(made + opened, 0)
