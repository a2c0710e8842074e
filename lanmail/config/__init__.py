"""main.cf: its grammar, its parameters, and what they mean when put together."""
