"""The whole service, wired together: the only modules that know every class.

place     what every part is handed: settings, threads, time, the folder that is ours, and who may what
rights    who does what needs root: we ourselves, or the guard once we have given root up
people    who has mail here, and how they prove who they are
keeping   what is answered for: the journal, its history, and the mailboxes
post      where mail goes, and the queue
doors     TLS, the conversations, and which of them is spoken at which port

Read ``service.LanMail.__init__`` and then these, in this order, to see what mail passes through.
"""
