"""mbox files: the format, the locks, the index, one file, and one reader's view of it."""
