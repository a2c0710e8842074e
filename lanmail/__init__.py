"""lanmail: the mail of a local network, in one program on Twisted."""

__version__ = "0.1.0"
