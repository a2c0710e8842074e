"""A file that appears in its folder whole, or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from types import TracebackType

# Where a file system has no O_TMPFILE (NFS, old overlays) open says one of these.
_UNKNOWN = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)


class Newborn:
    """A file being made in an open folder, without a name until ``appear``.

    So nobody sees it half made: a dotlock never without the pid in it, a mailbox never with the wrong owner, and a crash in the
    middle leaves no trace. As a context manager it closes its descriptor at the end, unless somebody took it (``keep``).
    """

    def __init__(self, folder: int) -> None:
        self._folder = folder
        self._name = ""  # of the draft, where there cannot be an unnamed one
        try:
            self.fd = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=folder)
        except OSError as error:
            if error.errno not in _UNKNOWN:
                raise
            self._name = f".lanmail-{secrets.token_hex(8)}"
            flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
            self.fd = os.open(self._name, flags, 0o600, dir_fd=folder)
        self._kept = False

    def appear(self, name: str) -> None:
        """Give it this name in the folder. Raises FileExistsError where something has it: link(2) follows and replaces nothing.

        Atomic, on NFS too, which O_EXCL was not for the programs that these locks come from.
        """
        if self._name:
            os.link(self._name, name, src_dir_fd=self._folder, dst_dir_fd=self._folder, follow_symlinks=False)
            os.unlink(self._name, dir_fd=self._folder)  # at once: a mailbox with two names is refused
            self._name = ""
        else:
            os.link(f"/proc/self/fd/{self.fd}", name, dst_dir_fd=self._folder)  # open(2), O_TMPFILE, gives this way

    def keep(self) -> int:
        """The descriptor, which the caller closes from now on."""
        self._kept = True
        return self.fd

    def __enter__(self) -> Newborn:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._kept:
            os.close(self.fd)
        if self._name:
            os.unlink(self._name, dir_fd=self._folder)
