"""The whole service, wired together: the only modules that know every class.

place     what every part is handed: settings, threads, time, the folder that is ours, and who may what
rights    who does what needs root: we ourselves, or the guard once we have given root up
people    who has mail here, and how they prove who they are
counting  where connections, rates, failures and logins are counted: in this process, or over several
keeping   what is answered for: the journal, its history, and the mailboxes
beside    what a worker keeps with its colleagues: turns at mailboxes, and what they flush for each other
post      where mail goes, and the queue
doors     TLS and the conversations: what is said to whoever comes, and who may come (limits: how often and how much)
listening which of them is spoken at which port
reload    SIGHUP: all of it read again, and obeyed as a whole or not at all

Read ``service.LanMail.__init__`` and then these, in this order, to see what mail passes through.
"""
