"""Bytes in, facts out, for any line-based protocol; no input or output of its own."""
