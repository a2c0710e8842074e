"""What one SMTP client may do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SmtpLimits:
    """The defaults are Postfix's, and so are the names, there with ``smtpd_`` before most of them.

    Sizes in octets, times in seconds; a message_size_limit of 0 is none.
    """

    message_size_limit: int = 10_240_000
    line_length_limit: int = 2048  # of a command; the lines of a message have none
    recipient_limit: int = 1000
    recipient_overshoot_limit: int = 1000  # recipients past the limit that are not yet counted as errors
    soft_error_limit: int = 10  # from so many errors on, every reply is held back for error_sleep_time
    hard_error_limit: int = 20
    error_sleep_time: float = 1.0
    junk_command_limit: int = 100  # of RSET, NOOP, VRFY, HELP, EHLO between messages; each further one is an error
    timeout: float = 300.0  # for a whole command, or for a client to take what it is answered
    per_request_deadline: bool = True  # no: each octet begins the time anew
    min_data_rate: int = 500  # octets of a message that win its client a second
    login_tries: int = 4  # so many refused ones end the connection
    unread_octets: int = 65536  # of answers, past which a client is not served until it reads
