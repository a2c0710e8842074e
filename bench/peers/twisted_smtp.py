"""Stock Twisted SMTP server: twisted.mail.smtp as its manual shows it, one mbox
append with flock + fsync per recipient, all in the reactor thread.  A peer to
measure, not a server to use.

    twisted_smtp.py PORT MAILDIR PIDFILE [nofsync] [profile=FILE]
"""

import cProfile
import fcntl
import grp
import os
import pwd
import sys
import time

from twisted.internet import defer, reactor
from twisted.mail import smtp
from zope.interface import implementer

PORT, DIR, PIDFILE = int(sys.argv[1]), sys.argv[2], sys.argv[3]
FSYNC = "nofsync" not in sys.argv
DOMAINS = {b"iscb-corporation.com", b"srvlinux.iscb-corporation.com", b"localhost.iscb-corporation.com", b"localhost"}
MAIL_GID = grp.getgrnam("mail").gr_gid


@implementer(smtp.IMessage)
class Message:
    def __init__(self, user, sender):
        self.user, self.sender, self.lines = user, sender, []

    def lineReceived(self, line):
        self.lines.append(line)

    def eomReceived(self):
        stamp = time.asctime(time.gmtime()).encode()
        out = [b"From " + self.sender + b" " + stamp]
        for line in self.lines:
            out.append(b">" + line if line.startswith(b"From ") else line)
        data = b"\n".join(out) + b"\n\n"
        path = os.path.join(DIR, self.user)
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX)
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.fstat(fd).st_uid == 0:
                os.fchown(fd, pwd.getpwnam(self.user).pw_uid, MAIL_GID)
            os.write(fd, data)
            if FSYNC:
                os.fsync(fd)
        finally:
            os.close(fd)
        return defer.succeed(None)

    def connectionLost(self):
        self.lines = None


@implementer(smtp.IMessageDelivery)
class Delivery:
    def receivedHeader(self, helo, origin, recipients):
        return b"Received: from " + helo[0] + b" by srvlinux.iscb-corporation.com; " + smtp.rfc822date()

    def validateFrom(self, helo, origin):
        self.sender = bytes(origin) or b"MAILER-DAEMON"
        return origin

    def validateTo(self, user):
        if user.dest.domain in DOMAINS:
            name = user.dest.local.decode()
            try:
                pwd.getpwnam(name)
            except KeyError:
                raise smtp.SMTPBadRcpt(user) from None
            return lambda: Message(name, self.sender)
        raise smtp.SMTPBadRcpt(user)


class Factory(smtp.SMTPFactory):
    protocol = smtp.ESMTP

    def buildProtocol(self, addr):
        p = smtp.SMTPFactory.buildProtocol(self, addr)
        p.delivery = Delivery()
        return p


reactor.listenTCP(PORT, Factory(), backlog=1024, interface="127.0.0.1")
with open(PIDFILE, "w") as f:
    f.write(str(os.getpid()))
prof = [a.split("=", 1)[1] for a in sys.argv if a.startswith("profile=")]
if prof:
    p = cProfile.Profile()
    p.runcall(reactor.run)
    p.dump_stats(prof[0])
else:
    reactor.run()
