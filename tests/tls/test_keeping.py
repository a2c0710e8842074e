from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from lanmail.tls import keeping
from lanmail.tls.certificate import fits, names_of
from lanmail.tls.keeping import AUTHORITY, CERTIFICATE, FOR_OLD_DEVICES, Keeping, KeepingTrouble
from tests.tls.made import ADDRESSES, DAY, NOW, plan


class KeepingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.data = Path(self.mktemp()).resolve()
        self.keeping = Keeping(str(self.data))
        self.folder = self.data / "lanmail"

    def test_the_first_time_both_are_made_and_told(self) -> None:
        kept = self.keeping.keep(plan(), NOW)
        self.assertTrue(fits(kept.chain))
        kept.chain.certificate.verify_directly_issued_by(kept.authority)
        self.assertIn("lanmail authority of lan.example was made (SHA-256 ", kept.news[0])
        self.assertIn("lanmail certificate export-ca", kept.news[0])
        self.assertIn("there was none", kept.news[1])
        self.assertEqual((kept.left_out, kept.old_devices), ((), None))

    def test_the_next_time_they_are_the_same_and_nothing_is_told(self) -> None:
        first = self.keeping.keep(plan(), NOW)
        again = Keeping(str(self.data)).keep(plan(), NOW + 300 * DAY)
        self.assertEqual((again.chain, again.authority, again.news), (first.chain, first.authority, ()))

    def test_a_new_address_makes_a_new_certificate_of_the_same_authority(self) -> None:
        first = self.keeping.keep(plan(), NOW)
        again = self.keeping.keep(plan(addresses=(*ADDRESSES, "10.0.0.5")), NOW)
        self.assertEqual(again.authority, first.authority)
        self.assertIn("10.0.0.5", [str(one) for one in names_of(again.chain.certificate)[1]])
        self.assertNotEqual(again.chain.key, first.chain.key)
        self.assertIn("it does not name 10.0.0.5", again.news[0])

    def test_before_its_end_it_is_made_anew(self) -> None:
        first = self.keeping.keep(plan(), NOW)
        again = self.keeping.keep(plan(), NOW + 380 * DAY)
        self.assertEqual(again.authority, first.authority)
        self.assertGreater(again.chain.certificate.not_valid_after_utc, NOW + 700 * DAY)

    def test_what_is_left_out_is_told_at_every_start(self) -> None:
        self.keeping.keep(plan(), NOW)
        for _ in range(2):
            kept = self.keeping.keep(plan(addresses=(*ADDRESSES, "203.0.113.5")), NOW)
            self.assertEqual(kept.left_out, ("203.0.113.5",))
            self.assertIn("does not name 203.0.113.5", kept.news[-1])

    def test_an_address_that_was_there_from_the_beginning_is_named(self) -> None:
        kept = self.keeping.keep(plan(addresses=("203.0.113.5",)), NOW)
        self.assertEqual(kept.left_out, ())
        self.assertEqual([str(one) for one in names_of(kept.chain.certificate)[1]], ["203.0.113.5"])

    def test_a_new_authority_signs_a_new_certificate(self) -> None:
        first = self.keeping.keep(plan(), NOW, old_devices=True)
        again = self.keeping.keep(plan(), NOW, old_devices=True, new_authority=True)
        self.assertNotEqual(again.authority, first.authority)
        assert again.old_devices is not None
        for chain in (again.chain, again.old_devices):
            chain.certificate.verify_directly_issued_by(again.authority)

    def test_a_new_certificate_can_be_asked_for(self) -> None:
        first = self.keeping.keep(plan(), NOW)
        again = self.keeping.keep(plan(), NOW, new_certificate=True)
        self.assertEqual(again.authority, first.authority)
        self.assertNotEqual(again.chain, first.chain)
        self.assertIn("it was asked for", again.news[0])

    def test_an_authority_at_its_end_is_told_and_an_ended_one_is_made_anew(self) -> None:
        first = self.keeping.keep(plan(), NOW)
        end = first.authority.not_valid_after_utc
        near = self.keeping.keep(plan(), end - 40 * DAY)
        self.assertEqual(near.authority, first.authority)
        self.assertIn(f"our authority ends on {end:%Y-%m-%d}", near.news[-1])
        self.assertEqual(self.keeping.keep(plan(), end - 39 * DAY).chain, near.chain)
        after = self.keeping.keep(plan(), end + DAY)
        self.assertNotEqual(after.authority, first.authority)

    def test_a_clock_of_1970_makes_nothing_that_ends_in_1980(self) -> None:
        kept = self.keeping.keep(plan(), NOW.replace(year=1970))
        self.assertGreater(kept.authority.not_valid_after_utc, keeping.NOT_BEFORE + 3000 * DAY)

    def test_what_is_there_is_shown_without_making_anything(self) -> None:
        self.assertIsNone(self.keeping.held())
        self.assertFalse(self.data.exists())
        kept = self.keeping.keep(plan(), NOW, old_devices=True)
        held = self.keeping.held()
        assert held is not None
        self.assertEqual((held.authority, held.chain, held.old_devices), (kept.authority, kept.chain, kept.old_devices))

    def test_only_one_works_in_the_folder_at_once(self) -> None:
        made = []
        threads = [
            threading.Thread(target=lambda: made.append(Keeping(str(self.data)).keep(plan(), NOW))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len({kept.chain for kept in made}), 1)


class FilesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.data = Path(self.mktemp()).resolve()
        self.keeping = Keeping(str(self.data))
        self.folder = self.data / "lanmail"

    def trouble(self) -> str:
        with self.assertRaises(KeepingTrouble) as caught:
            self.keeping.keep(plan(), NOW)
        return str(caught.exception)

    def test_nobody_else_may_look_whatever_the_umask(self) -> None:
        before = os.umask(0)
        try:
            self.keeping.keep(plan(), NOW, old_devices=True)
        finally:
            os.umask(before)
        self.assertEqual(stat.S_IMODE(self.folder.stat().st_mode), 0o700)
        self.assertEqual(sorted(os.listdir(self.folder)), sorted([AUTHORITY, CERTIFICATE, FOR_OLD_DEVICES]))
        for name in os.listdir(self.folder):
            self.assertEqual(stat.S_IMODE((self.folder / name).stat().st_mode), 0o600, name)

    def test_rights_that_a_backup_brought_back_wrong_are_put_right(self) -> None:
        self.keeping.keep(plan(), NOW)
        (self.folder / AUTHORITY).chmod(0o644)
        self.folder.chmod(0o755)
        self.keeping.keep(plan(), NOW)
        self.assertEqual(stat.S_IMODE((self.folder / AUTHORITY).stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(self.folder.stat().st_mode), 0o700)

    def test_a_broken_certificate_is_made_anew(self) -> None:
        first = self.keeping.keep(plan(), NOW)
        for text in (b"", b"nonsense", first.chain.text[:300], first.chain.certificates):
            (self.folder / CERTIFICATE).write_bytes(text)
            again = self.keeping.keep(plan(), NOW)
            self.assertTrue(fits(again.chain))
            self.assertEqual(again.authority, first.authority)

    def test_a_key_beside_anothers_certificate_is_made_anew(self) -> None:
        first, other = self.keeping.keep(plan(), NOW), Keeping(self.mktemp()).keep(plan(), NOW)
        (self.folder / CERTIFICATE).write_bytes(first.chain.key + other.chain.certificates)
        self.assertTrue(fits(self.keeping.keep(plan(), NOW).chain))

    def test_a_broken_authority_is_not_thrown_away(self) -> None:
        self.keeping.keep(plan(), NOW)
        (self.folder / AUTHORITY).write_bytes(b"")
        said = self.trouble()
        self.assertIn("put it back from a backup", said)
        self.assertIn("lanmail certificate renew --authority", said)
        self.assertEqual((self.folder / AUTHORITY).read_bytes(), b"")
        self.assertTrue(self.keeping.keep(plan(), NOW, new_authority=True))

    def test_a_link_or_a_fifo_in_place_of_a_file_is_not_followed(self) -> None:
        self.keeping.keep(plan(), NOW)
        path = self.folder / AUTHORITY
        secret = self.data / "secret"
        path.rename(secret)
        path.symlink_to(secret)
        self.assertIn(AUTHORITY, self.trouble())
        path.unlink()
        os.mkfifo(path)
        self.assertIn("not a file of ours", self.trouble())

    def test_a_link_in_place_of_the_folder_is_not_followed(self) -> None:
        elsewhere = self.data / "elsewhere"
        elsewhere.mkdir(parents=True)
        self.folder.symlink_to(elsewhere)
        self.assertIn(str(self.folder), self.trouble())
        self.assertEqual(os.listdir(elsewhere), [])

    def test_somebody_elses_folder_is_refused(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can give a folder away")
        self.keeping.keep(plan(), NOW)
        os.chown(self.folder, 12345, -1)
        self.assertIn("belongs to uid 12345, and we are uid 0", self.trouble())
        with self.assertRaises(KeepingTrouble):
            self.keeping.held()

    def test_somebody_elses_file_is_refused(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can give a file away")
        self.keeping.keep(plan(), NOW)
        os.chown(self.folder / AUTHORITY, 12345, -1)
        self.assertIn("not a file of ours", self.trouble())

    def test_a_folder_that_cannot_be_made_is_a_sentence(self) -> None:
        with self.assertRaises(KeepingTrouble) as caught:
            Keeping("/proc/nowhere").keep(plan(), NOW)
        self.assertIn("(data_directory)", str(caught.exception))

    def test_what_a_killed_process_left_is_swept_and_never_read(self) -> None:
        first = self.keeping.keep(plan(), NOW)
        (self.folder / f"{CERTIFICATE}.new").write_bytes(b"half of a ke")
        self.assertEqual(self.keeping.keep(plan(), NOW).chain, first.chain)
        again = self.keeping.keep(plan(), NOW, new_certificate=True)
        self.assertTrue(fits(again.chain))
        self.assertFalse((self.folder / f"{CERTIFICATE}.new").exists())

    def test_a_disk_that_takes_no_more_leaves_what_was_there(self) -> None:
        first = self.keeping.keep(plan(), NOW)

        def full(_fd: int) -> None:
            raise OSError(28, "No space left on device")

        self.patch(os, "fsync", full)
        with self.assertRaises(KeepingTrouble) as caught:
            self.keeping.keep(plan(), NOW, new_certificate=True)
        self.assertIn("No space left on device", str(caught.exception))
        held = self.keeping.held()
        assert held is not None
        self.assertEqual(held.chain, first.chain)
