"""What we answer for between the end of a message and its place in a mailbox."""
