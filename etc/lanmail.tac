"""lanmail as a Twisted application: ``twistd -y etc/lanmail.tac`` (``-n`` to stay in the foreground).

It finds its configuration as ``twist lanmail`` does: ./main.cf, then /etc/lanmail/main.cf, then the try-out. To name another file,
or to override a parameter, do it here: ``Options.of(config="/srv/mail/main.cf", override=["pop3_port=1110"])``.
"""

from twisted.application.service import Application

from lanmail.tap import Options, makeService

application = Application("lanmail")
makeService(Options()).setServiceParent(application)
