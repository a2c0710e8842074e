"""mbox files: the format, the locks, the index, one file, and one reader's view of it.

the format      mbox: what lines mean. windows: how a file is read. scan: where messages begin. text: one as POP3 sends it.
the names       essence: what a message is, whoever rewrites it. uidl: its name. names: all of them. adopted: an older server's.
the index       index: where each message stands, and whether that is still true. index_cache, saved_index: between sessions.
one file        store: opened and locked, or refused. locks, dotlock: the two locks. newborn: a file that appears whole.
                locked: what is done under the locks: appended, cut back, thinned out.
taking out      expunge: in place, and why no crash tears it. plan, redo, disk: what it is made of.
one reader      maildrop: POP3's view. snapshot: its letters, found again. ahead: small ones read together.
                claims, holdings: exclusive, and let go in any order.
several workers turns: whose it is, who is next, and who left it in the middle of something.
"""
