"""aiosmtpd peers.  aiosmtpd_mbox.py PORT DIR PIDFILE maildir|mbox
maildir: aiosmtpd's own handlers.Mailbox (one Maildir for everybody; the standard
library fsyncs each file, not its directory).  mbox: a handler that appends to
one mbox a recipient with lockf + fsync, in the event loop."""

import asyncio
import fcntl
import os
import pwd
import sys
import time

from aiosmtpd.handlers import Mailbox
from aiosmtpd.smtp import SMTP

PORT, DIR, PIDFILE, KIND = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]


class Mbox:
    async def handle_DATA(self, server, session, envelope):
        body = envelope.content.replace(b"\r\n", b"\n").replace(b"\nFrom ", b"\n>From ")
        head = f"From {envelope.mail_from} {time.asctime(time.gmtime())}\n".encode()
        for rcpt in envelope.rcpt_tos:
            user = rcpt.split("@")[0]
            fd = os.open(os.path.join(DIR, user), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX)
                if os.fstat(fd).st_uid == 0:
                    os.fchown(fd, pwd.getpwnam(user).pw_uid, 8)
                os.write(fd, head + body + b"\n")
                os.fsync(fd)
            finally:
                os.close(fd)
        return "250 OK"


async def main():
    handler = Mailbox(DIR) if KIND == "maildir" else Mbox()
    loop = asyncio.get_running_loop()
    s = await loop.create_server(
        lambda: SMTP(handler, hostname="srvlinux.iscb-corporation.com", loop=loop, data_size_limit=50 << 20),
        "127.0.0.1",
        PORT,
        backlog=1024,
    )
    with open(PIDFILE, "w") as f:
        f.write(str(os.getpid()))
    async with s:
        await s.serve_forever()


asyncio.run(main())
