from __future__ import annotations

import errno
import os

from twisted.trial.unittest import SynchronousTestCase

from lanmail.files import is_there, look, open_no_link, open_plainly, read_whole


class FilesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = os.path.abspath(self.mktemp())
        self.write("text")

    def write(self, text: str) -> None:
        with open(self.path, "w") as file:
            file.write(text)

    def descriptors(self) -> int:
        return len(os.listdir("/proc/self/fd"))

    def test_a_link_is_followed_or_refused_as_it_is_asked_for(self) -> None:
        link = f"{self.path}-link"
        os.symlink(self.path, link)
        os.close(open_plainly(link))
        self.assertEqual(self.assertRaises(OSError, open_no_link, link).errno, errno.ELOOP)

    def test_nobody_waits_for_a_fifo_and_no_program_inherits_a_descriptor(self) -> None:
        os.mkfifo(f"{self.path}-fifo")
        for opened in (open_plainly, open_no_link):
            fd = opened(f"{self.path}-fifo")
            self.assertFalse(os.get_inheritable(fd))
            os.close(fd)
        caught = self.assertRaises(OSError, read_whole, f"{self.path}-fifo", open_plainly, 9)
        self.assertEqual(caught.strerror, "it is not a regular file")

    def test_a_file_is_read_whole_or_not_at_all(self) -> None:
        self.assertEqual(read_whole(self.path, open_plainly, 4), b"text")
        self.assertEqual(self.assertRaises(OSError, read_whole, self.path, open_plainly, 3).errno, errno.EFBIG)
        self.assertRaises(FileNotFoundError, read_whole, f"{self.path}-not", open_plainly, 3)

    def test_a_signature_differs_after_every_change_even_one_whose_time_was_put_back(self) -> None:
        before = look(self.path, open_plainly)
        self.assertEqual(look(self.path, open_plainly), before)
        facts = os.stat(self.path)
        self.write("TEXT")
        os.utime(self.path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        self.assertNotEqual(look(self.path, open_plainly), before)
        os.unlink(self.path)
        gone = look(self.path, open_plainly)
        self.assertEqual((gone, is_there(gone), is_there(before)), ((errno.ENOENT,), False, True))
        self.assertFalse(is_there(look("\0", open_plainly)))

    def test_what_says_nothing_of_the_file_is_not_taken_for_its_absence(self) -> None:
        def failing(number: int) -> int:
            raise OSError(number, os.strerror(number), self.path)

        for number in (errno.EMFILE, errno.ENFILE, errno.EIO):
            self.assertRaises(OSError, look, self.path, lambda _, number=number: failing(number))
        for number in (errno.EACCES, errno.ENOENT, errno.ELOOP):
            self.assertEqual(look(self.path, lambda _, number=number: failing(number)), (number,))

    def test_no_descriptor_is_left_open(self) -> None:
        before = self.descriptors()
        for _ in range(20):
            look(self.path, open_plainly)
            read_whole(self.path, open_plainly, 9)
            self.assertRaises(OSError, read_whole, self.path, open_plainly, 1)
            self.assertRaises(OSError, read_whole, os.path.dirname(self.path), open_plainly, 1)
        self.assertEqual(self.descriptors(), before)
