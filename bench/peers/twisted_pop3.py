"""Stock Twisted POP3 server: twisted.mail.pop3 over the standard library's
mailbox.mbox, PAM through python-pam in the reactor's thread pool.  A peer to
measure, not a server to use.

    twisted_pop3.py PORT MAILDIR PIDFILE [profile=FILE] [nopam]
"""

import cProfile
import hashlib
import io
import mailbox
import os
import sys

import pam
from twisted.cred import checkers, credentials, error, portal
from twisted.internet import protocol, reactor, threads
from twisted.mail import pop3
from zope.interface import implementer

PORT, DIR, PIDFILE = int(sys.argv[1]), sys.argv[2], sys.argv[3]


@implementer(pop3.IMailbox)
class Mailbox:
    def __init__(self, user):
        self.box = mailbox.mbox(os.path.join(DIR, user))
        self.box.lock()
        self.keys = self.box.keys()
        self.gone = set()
        self.text = {}

    def _get(self, i):
        if i not in self.text:
            self.text = {i: self.box.get_bytes(self.keys[i])}  # pop3.py turns LF into CRLF itself
        return self.text[i]

    def _len(self, i):
        t = self._get(i)
        return len(t) + t.count(b"\n")

    def listMessages(self, index=None):
        if index is not None:
            return 0 if index in self.gone else self._len(index)
        return [0 if i in self.gone else self._len(i) for i in range(len(self.keys))]

    def getMessage(self, i):
        return io.BytesIO(self._get(i))

    def getUidl(self, i):
        return hashlib.md5(self._get(i), usedforsecurity=False).hexdigest().encode()

    def deleteMessage(self, i):
        self.gone.add(i)

    def undeleteMessages(self):
        self.gone.clear()

    def sync(self):
        for i in self.gone:
            self.box.remove(self.keys[i])
        self.box.flush()
        self.gone.clear()

    def close(self):
        self.box.unlock()
        self.box.close()


@implementer(portal.IRealm)
class Realm:
    def requestAvatar(self, avatarId, mind, *interfaces):
        m = Mailbox(avatarId.decode())
        return pop3.IMailbox, m, m.close


@implementer(checkers.ICredentialsChecker)
class Pam:
    credentialInterfaces = (credentials.IUsernamePassword,)

    def requestAvatarId(self, c):
        if "nopam" in sys.argv:
            return c.username

        def check():
            if pam.pam().authenticate(c.username.decode(), c.password.decode(), service="login"):
                return c.username
            raise error.UnauthorizedLogin()

        return threads.deferToThread(check)


class POP3(pop3.POP3):
    def connectionMade(self):
        self.portal = self.factory.portal
        pop3.POP3.connectionMade(self)


class Factory(protocol.ServerFactory):
    protocol = POP3
    noisy = False
    portal = portal.Portal(Realm(), [Pam()])

    # names twisted.mail.pop3 looks for in its factory
    def cap_IMPLEMENTATION(self):
        return b"stock"

    def cap_EXPIRE(self):
        return b"NEVER"

    def cap_LOGIN_DELAY(self):
        return 0

    def perUserExpiration(self):
        return False

    def perUserLoginDelay(self):
        return False


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
