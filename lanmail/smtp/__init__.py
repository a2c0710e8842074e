"""SMTP: the grammar, the conversation, and the rim that carries it."""
