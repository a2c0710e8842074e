"""Inputs that something did not bear once, by target. They are tried again with every run of the tests; none goes away."""

from __future__ import annotations

import base64

# Certificates in binary form, of which cryptography says ValueError, UnsupportedAlgorithm or InvalidVersion only when it is asked for
# the key, or at once. Their dates do not matter: it does not come so far.
_KEY_WITHOUT_A_POINT = """\
MIIBRjCB7KADAgECAhQDUM0aWK/d8/YCUAhkkD2Qs3DNizAKBggqhkjOPQQDAjATMREwDwYDVQQDDAhzb21lYm9keTAeFw0yNjExMjQwNDQxMjhaFw0yNzAyMjMwNDQx
MjhaMBMxETAPBgNVBAMMCHNvbWVib2R5MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE3mPgs4+bwBT/cT9kS6ldLgX30a2M0OSuetePVzMtFWnRFl6KUaFgEyXKBDuP
ajv8VjWa7+LUmTD3xIbhV0LL6KMeMBwwGgYDVR0RBBMwEYIPc3J2Lmxhbi5leCFtcGxlMAoGCCqGSM49BAMCA0kAMEYCIQC8uKYivEXRMIXQq/Q5X5D9sNI/eefooS1w
fR7BpzIubAIhALQ12h8cAs+7IMVTuZNzGLr3oEcGkEuzHuxVq8+WQEwh"""
_CURVE_OF_NOBODY = _KEY_WITHOUT_A_POINT.replace("IKoZIzj0DAQcDQgAE", "IKgZIzj0DAQcDQgAE")
_VERSION_18 = """\
MIIBSjCB8KADAgESAhRBlZV1FhJCgLdmFGP0Y83s+NPWCzAKBggqhkjOPQQDAjATMREwDwYDVQQDDAhzb21lYm9keTAeFw0yNjExMjQwNDQ0NTVaFw0yNzAyMjMwNDQ0
NTVaMBMxETAPBgNVBAMMCHNvbWVib2R5MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEWYYw76arpmVIrYnFz4ZJ6f+cPrlRipZ5AsSG/XsN4mkNJG9ZBw6TUI7wT9qs
qFTaUO2qzZQ4n9ibUIcDkVCL56MiMCAwHgYDVR0RBBcwFYINKi5sYW4uZXhhbXBsZYcEwKgBCjAKBggqhkjOPQQDAgNJADBGAiEA1RLjryyP/gTZDIM0yLV7NTzy+LpM
ct48Pl/l35wH5AwCIQDS0DYBWG9MD5nC7EEZKU1Fx0NiGEzcKbHuly0iDFvktg=="""

FOUND: dict[str, tuple[bytes, ...]] = {
    "certificates": tuple(map(base64.b64decode, (_KEY_WITHOUT_A_POINT, _CURVE_OF_NOBODY, _VERSION_18))),
    # On the guard's channels, where only the service itself speaks: RecursionError and OverflowError were no BadDuties.
    "duties": (
        b"[" * 3000,
        b'{"spool":"/","uids":[[0,1e999]],"pam_service":"","pam_folder":"","group":null,"fcntl":true,"flock":false,"files":[],'
        b'"signer":"","argument":"","folders":[],"most":4,"time_limit":0}',
        b'{"spool":"/","uids":[[0,6]],"pam_service":"","pam_folder":"","group":null,"fcntl":true,"flock":false,"files":[0,""],'
        b'"signer":"","argument":"","folders":[],"most":4,"time_limit":0}',
    ),
    # Twisted's own reader of these headers, which stood here once, raised ValueError and UnicodeDecodeError.
    "proxy": (
        b"PROXY TCP4  .1.1 55\x12 2\r\n",
        b"PROXY TCP4 20.19 1.1.1\xeb. 5 2\r\nHO",
        b"PROXY TCP4 \xff 12.  2\r\nELO",
        b"PROXY TCP4 2.9: 921. 5 25\r\n",
        b"PROXY TCP6 T 3.11 EHLO c\rIT\r\n",
        b"PROXY TCP4 1.1.1.1 2.2.2.2 5 \r\n",
    ),
    # The second reader took these for something else, and learnt.
    "reading": (
        b"From Tue Nov \xb2 1:4 0",
        b"From Tue Nov 4 1:4 6\nSubject:DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\nX-IMAP:",
        b"From Tue Nov 4 1:4 6\nReturn-Path:\nReceived:\n\tby g (lanmail) wiTh \n>From ",
        b"From Tue Nov 4 1:4 6\nReturn-Path:\nReceived:\n\tby \r (lanmail) with \n>From ",
    ),
    "letter": (b"t:\rX-UID:", b"P:\nFrom \nX-IMAP:", b"From: a@b\r\nStatus"),
    "submitted": (b"From \nFrom :ann@lan.example", b"From: Ann <ann@lan\r\n .example>\r\n\r\n"),
    "names": (b"boss@lan.example\xc3\x9f", b"s@\xc3\x9f\r\n"),
    # White space in Unicode is more than in Postfix, and a line of a table had no key.
    "main.cf": (b" \n\x1c ", b"\xa0"),
    "pop3": (b"AUTH PLAIN\n",),
}
