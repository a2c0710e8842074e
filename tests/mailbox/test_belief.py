"""Whatever other programs do to a mailbox, the index is believed only where it is true, and no letter is sent in parts of two."""

from __future__ import annotations

import os
import random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.interfaces import MessageGone, Torn
from lanmail.mailbox import index as index_module
from lanmail.mailbox import text as text_module
from lanmail.mailbox.index import Index, Stamp, refresh, scan
from lanmail.mailbox.text import read_several, read_text
from lanmail.mailbox.uidl import identify
from tests.mailbox.files import SEPARATOR, a_file, entries


class Message:
    """As it stands in the file, with what readers write into it. Sizes are few, so that one often comes to stand where another did."""

    def __init__(self, chance: random.Random) -> None:
        self.name = b"%06d" % chance.randrange(10**6)
        self.status = b"  "
        self.room = 20
        self.body = chance.choice([b"text\n", b"line\n" * 30, b"a\n\nb\n"])

    def text(self) -> bytes:
        fields = b"Message-ID: <%s>\nStatus: %s\nX-Keywords: %s\n" % (self.name, self.status, b" " * self.room)
        return fields + b"\n" + self.body


class Mailbox:
    """Its messages, and what programs do to them."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.messages = [Message(chance) for _ in range(chance.randint(1, 6))]

    def content(self) -> bytes:
        return b"".join(SEPARATOR + message.text() + b"\n" for message in self.messages)

    def texts(self) -> set[bytes]:
        return {message.text().replace(b"\n", b"\r\n") for message in self.messages}

    def deliver(self) -> None:
        self.messages.append(Message(self.chance))

    def mutt_marks_all(self) -> None:
        for message in self.messages:
            message.status = b"O " + b"x" * self.chance.randint(0, 2)

    def cclient_marks_one_in_place(self) -> None:
        self.chance.choice(self.messages).status = self.chance.choice([b"O ", b"RO", b"  "])

    def mutt_removes_one(self) -> None:
        if len(self.messages) > 1:
            self.messages.remove(self.chance.choice(self.messages))

    def mutt_removes_the_last(self) -> None:
        if len(self.messages) > 1:
            self.messages.pop()

    def dovecot_moves_room(self) -> None:
        """What one header gains another one has to spare: only what lies between the two moves."""
        gains, spares = self.chance.choice(self.messages), self.chance.choice(self.messages)
        octets = self.chance.randint(1, 5)
        if spares.room >= octets:
            spares.room -= octets
            gains.room += octets

    def nobody(self) -> None:
        """Written anew as it was."""

    def something(self) -> None:
        self.chance.choice(
            (
                self.deliver,
                self.deliver,
                self.mutt_marks_all,
                self.cclient_marks_one_in_place,
                self.mutt_removes_one,
                self.mutt_removes_the_last,
                self.dovecot_moves_room,
                self.dovecot_moves_room,
                self.nobody,
            )
        )()


class BeliefTest(SynchronousTestCase):
    def setUp(self) -> None:
        # As if the mailbox were large: then it is not compared whole.
        self.patch(index_module, "SMALL", 0)
        self.patch(index_module, "HEADER_READ", 256)
        self.patch(index_module, "_TAIL", 64)
        self.patch(text_module, "PIECE", 40)

    @given(st.integers(0, 2**32))
    @settings(max_examples=400, deadline=None)
    def test_an_index_that_is_believed_is_that_of_a_fresh_reading(self, seed: int) -> None:
        chance = random.Random(seed)
        box = Mailbox(chance)
        with a_file(box.content()) as fd:
            now = self.index(fd, None, chance)
            for _ in range(4):
                if chance.random() < 0.5:
                    identify(fd, now)
                earlier, texts = now, box.texts()
                letter = Letter(fd, earlier, chance)
                for _ in range(chance.randint(1, 2)):
                    box.something()
                self.write(fd, box.content(), earlier, chance)
                letter.go_on()
                self.assertTrue(letter.broken or letter.text in texts | box.texts())
                several = read_several(fd, earlier, chance.randint(1, len(earlier)), 10**6)
                self.assertLessEqual(set(several), texts | box.texts())
                now, fresh = self.index(fd, earlier, chance), scan(fd, os.fstat(fd))
                self.assertEqual((entries(now), now.total), (entries(fresh), sum(fresh.octets)))
                identify(fd, fresh)
                self.assertEqual(now.identities, fresh.identities[: len(now.identities)])

    @staticmethod
    def index(fd: int, earlier: Index | None, chance: random.Random) -> Index:
        """Taken in the tick of the last change, or a while later."""
        stat = os.fstat(fd)
        return refresh(fd, stat, earlier, now_ns=stat.st_ctime_ns + chance.choice([1_000_000, 1_000_000_000]))

    @staticmethod
    def write(fd: int, content: bytes, earlier: Index, chance: random.Random) -> None:
        os.pwrite(fd, content, 0)
        os.ftruncate(fd, len(content))
        if not earlier.settled and chance.random() < 0.5:  # as if the clock had not ticked in between
            was, found = earlier.stamp, os.fstat(fd)
            earlier.stamp = Stamp(was.device, was.inode, was.size, found.st_mtime_ns, found.st_ctime_ns)


class Letter:
    """One that is being sent."""

    def __init__(self, fd: int, index: Index, chance: random.Random) -> None:
        self.text = b""
        self.broken = False
        self._pieces = read_text(fd, index, chance.randint(1, len(index)))
        self.go_on(chance.randint(0, 3))

    def go_on(self, pieces: int = 10**6) -> None:
        try:
            for _ in range(pieces):
                self.text += next(self._pieces)
        except StopIteration:
            pass
        except (MessageGone, Torn):
            self.broken = True
