"""Who has mail here, and how they prove it."""
