"""TLS: our own authority and certificate, certificates that were given, and the contexts that connections are made with."""
