"""What needs root, and nothing more: its own small process, the root parent, asked over two channels; and how everybody else gives root up.

the parent      parent: the program. channel: what is said to it. duties: what it may do, fixed at its start.
its helpers     opener: mailboxes, and files whose paths were fixed. signer: our own certificate. trusted: how a path is followed.
                (Passwords, names and .forward files are those of lanmail.accounts.helper.)
the service     starting: the parent, started. launching: helpers for the event loop. asking: for threads. openers: mailboxes through it.
giving it up    privileges: for good. handover: what an earlier root left in our folder.

What runs as root (parent, opener, signer and what they import) is one program, started by its path and without site-packages, so it needs
the standard library and few of our modules.
"""
