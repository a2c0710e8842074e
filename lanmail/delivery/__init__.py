"""Where a recipient's mail goes, and bringing it there."""
