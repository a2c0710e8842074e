"""POP3: the conversation and the rim that carries it."""
