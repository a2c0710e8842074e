"""Mailboxes as they lie there before a workload begins: laid by root, as Postfix leaves them."""

from __future__ import annotations

import grp
import os
import pwd
import shutil

from bench.surroundings import SCRATCH
from bench.target import Target

_FILL = "The quick brown fox jumps over the lazy dog; 0123456789 abcdefghij\n"


def mbox_message(user: str, number: int, size: int, tag: str) -> bytes:
    """One message of ``size`` octets, with the line that begins it in a mailbox and the one that ends it."""
    head = (
        f"From bench@iscb-corporation.com Tue Nov 24 03:00:{number % 60:02d} 2026\n"
        f"Return-Path: <bench@iscb-corporation.com>\n"
        f"Received: from bench.invalid (localhost [127.0.0.1]) by srvlinux.iscb-corporation.com\n"
        f"\twith ESMTP id {tag}{number:08d} for <{user}@iscb-corporation.com>; Tue, 24 Nov 2026 03:00:00 +0000\n"
        f"From: Bench <bench@iscb-corporation.com>\nTo: <{user}@iscb-corporation.com>\n"
        f"Subject: bench message {tag} {number:08d}\nDate: Tue, 24 Nov 2026 03:00:00 +0000\n"
        f"Message-ID: <{tag}-{user}-{number:08d}@bench.invalid>\n\n"
    )
    body = (_FILL * ((size - len(head)) // len(_FILL) + 1))[: max(2, size - len(head)) - 1] + "\n"
    return (head + body + "\n").encode()


def lay(target: Target, user: str, messages: int, size: int) -> None:
    """A mailbox of so many messages in place of the one that is there."""
    path = os.path.join(target.mail_dir, user)
    with open(path, "wb", buffering=1 << 20) as f:
        for number in range(messages):
            f.write(mbox_message(user, number, size, "seed"))
    _give(path, user)


def lay_all(target: Target, users: int, messages: int, size: int) -> None:
    """The same for u001 and those after it. On the disk when it returns: what is written later is the server's."""
    for number in range(1, users + 1):
        lay(target, f"u{number:03d}", messages, size)
    os.sync()


def lay_huge(target: Target, user: str, messages: int, size: int) -> str:
    """A mailbox that the machine has to read from the disk; its path. The text of it is kept in BENCH_TMP for the next run."""
    source = os.path.join(SCRATCH, f"bench-huge-{messages}-{size}.mbox")
    if not os.path.exists(source):
        with open(source + ".tmp", "wb", buffering=1 << 20) as f:
            for number in range(messages):
                f.write(mbox_message(user, number, size, "huge"))
        os.rename(source + ".tmp", source)
    path = os.path.join(target.mail_dir, user)
    shutil.copyfile(source, path)
    _give(path, user)
    os.sync()
    for each in (source, path):
        fd = os.open(each, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
    return path


def append(path: str, user: str, number: int, size: int) -> None:
    """As another program would."""
    with open(path, "ab") as f:
        f.write(mbox_message(user, number, size, "ext"))


def _give(path: str, user: str) -> None:
    os.chown(path, pwd.getpwnam(user).pw_uid, grp.getgrnam("mail").gr_gid)
    os.chmod(path, 0o600)
