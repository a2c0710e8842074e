"""The lanmail command, a file for each part of it."""
