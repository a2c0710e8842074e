"""What cannot be delivered at once: when it is tried again, and what its sender is told in the end."""
