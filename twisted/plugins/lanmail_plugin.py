"""Makes ``twist lanmail`` and ``twistd lanmail`` known. It imports nothing of lanmail: every run of twist and trial loads it."""

from twisted.application.service import ServiceMaker

lanmail = ServiceMaker(
    "lanmail", "lanmail.tap", "The mail of a local network: SMTP in, mbox files, POP3 out.", "lanmail"
)
