"""Every parameter, declared once: name, kind, default, and one line of meaning.

The reader, ``--check``, ``lanmail config``, docs/reference/parameters.md and etc/main.cf are made from this table. Names and
defaults are Postfix's where Postfix has them; where a default is not, ``differs`` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast, overload

from lanmail import __version__
from lanmail.config import defaults
from lanmail.config.hosts import DOMAINS, DOMAINS_AND_BELOW, HOST, LISTENING, NETWORKS, ORIGIN, PROTOCOLS
from lanmail.config.kinds import (
    ACCOUNT,
    ACCOUNT_OR_NOTHING,
    ACCOUNTS,
    ALIAS_FILES,
    COUNT,
    COUNT_FROM_1,
    DELIMITERS,
    ENDPOINTS,
    HEADERS,
    LEVEL,
    LOCKS,
    NOTICES,
    OCTETS,
    PATH,
    PATH_OR_NOTHING,
    PORT,
    SERVICE,
    SPOOL,
    TEXT,
    TIME,
    TIME_FROM_1,
    TIME_IN_DAYS,
    TIME_IN_HOURS,
    USER_IDS,
    WORKERS,
    YES_OR_NO,
    Context,
    Kind,
    choice,
)
from lanmail.config.local import FORWARD_PATH, LUSER_RELAY
from lanmail.config.problems import DEFAULT, Place
from lanmail.config.tls import PEM_FILE, PEM_FILES, PORT_OR_OFF, TLS_LEVEL, TLS_VERSIONS

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FromMachine:
    """A default that is found out: ``find`` gives its text, references and all; ``shown`` is what the reference says of it."""

    shown: str
    find: Callable[[Context], str]


class Parameter(Generic[T]):
    """One parameter; as an attribute of Settings it is the value.

    default: its text as it would stand in a main.cf. meaning: one line for the reference and for etc/main.cf.
    differs: why the default is not Postfix's. ours: Postfix has no such parameter. raw: ``$`` in it stands for something of each
    recipient's, and is left as it is.
    """

    name: str

    def __init__(
        self,
        kind: Kind[T],
        default: str | FromMachine,
        meaning: str,
        *,
        differs: str = "",
        ours: bool = False,
        raw: bool = False,
    ) -> None:
        self.kind = kind
        self.default = default
        self.meaning = meaning
        self.differs = differs
        self.ours = ours
        self.raw = raw

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, settings: None, owner: type) -> Parameter[T]: ...
    @overload
    def __get__(self, settings: Settings, owner: type) -> T: ...
    def __get__(self, settings: Settings | None, owner: type) -> Parameter[T] | T:
        return self if settings is None else cast(T, settings.values[self.name])

    def __set__(self, settings: Settings, value: object) -> None:
        raise AttributeError(f"{self.name} is as it was read")


@dataclass(frozen=True, slots=True)
class Written:
    """A parameter's value as text. text: as written, or the default. expanded: with every reference replaced."""

    text: str
    expanded: str
    place: Place

    @property
    def is_default(self) -> bool:
        return self.place == DEFAULT


class Settings:
    """A whole configuration: each attribute below is a parameter and gives its value. Does not change.

    values: by name, of every parameter. written: by name, the texts that the values came from.
    """

    def __init__(self, values: Mapping[str, Any], written: Mapping[str, Written]) -> None:
        self.values = values
        self.written = written

    myhostname = Parameter(
        HOST,
        FromMachine(
            "the name of the machine, with `$mydomain` or `localdomain` behind it where it has no domain",
            defaults.myhostname,
        ),
        "The full name of this machine: in the greeting, in Received headers, and in other defaults.",
    )
    mydomain = Parameter(
        HOST, FromMachine("`$myhostname` without its first part", defaults.mydomain), "The domain of this network."
    )
    myorigin = Parameter(
        ORIGIN,
        "$myhostname",
        "The domain that completes an envelope address without one. Headers are never rewritten.",
    )
    mail_name = Parameter(
        TEXT,
        "lanmail",
        "What smtpd_banner calls this program.",
        differs="this is not Postfix, and does not say that it is",
    )
    mail_version = Parameter(
        TEXT,
        FromMachine("the release of lanmail", lambda _: __version__),
        "The release of this program, for banners.",
        differs="it is our own",
    )
    compatibility_level = Parameter(
        LEVEL,
        "3.6",
        "Which release's defaults hold: below 2, mynetworks_style is subnet and relay_domains is $mydestination.",
        differs="at Postfix's 0 every machine of the subnet may send to anywhere unasked; new installations of Postfix set 3.6 themselves",
    )

    inet_interfaces = Parameter(
        LISTENING,
        "all",
        "The addresses to listen on: all, loopback-only, or addresses and names (from /etc/hosts; DNS is not asked).",
    )
    inet_protocols = Parameter(PROTOCOLS, "all", "The Internet protocols to listen with: all, ipv4, ipv6.")
    smtp_port = Parameter(PORT, "25", "The port for SMTP on each address of inet_interfaces; 0: none.", ours=True)
    pop3_port = Parameter(PORT, "110", "The port for POP3 on each address of inet_interfaces; 0: none.", ours=True)
    submission_port = Parameter(
        PORT,
        FromMachine("587 where smtp_port is 25 and pop3_port is 110, else 0", defaults.submission_port),
        "The port where people log in and hand in what they wrote, TLS by STARTTLS; 0: none.",
        ours=True,
    )
    submissions_port = Parameter(
        PORT,
        FromMachine("465 where smtp_port is 25 and pop3_port is 110, else 0", defaults.submissions_port),
        "The same with TLS from the start; 0: none.",
        ours=True,
    )
    pop3s_port = Parameter(
        PORT,
        FromMachine("995 where smtp_port is 25 and pop3_port is 110, else 0", defaults.pop3s_port),
        "The port for POP3 with TLS from the start; 0: none.",
        ours=True,
    )
    proxy_networks = Parameter(
        NETWORKS,
        "",
        "Proxies that announce their clients with the PROXY protocol. What comes from them must begin with its header.",
        ours=True,
    )
    smtpd_upstream_proxy_timeout = Parameter(
        TIME_FROM_1, "5s", "How long a proxy may take to send the header of the PROXY protocol, at every port."
    )
    smtp_endpoint = Parameter(
        ENDPOINTS,
        "",
        "Twisted endpoints for SMTP in place of smtp_port (systemd:domain=INET:index=0, haproxy:tcp:25).",
        ours=True,
    )
    pop3_endpoint = Parameter(ENDPOINTS, "", "Twisted endpoints for POP3 in place of pop3_port.", ours=True)

    mydestination = Parameter(
        DOMAINS,
        "$myhostname, localhost.$mydomain, localhost",
        "The domains whose mail is delivered here: domains, !domain, /file, hash:/file.",
    )
    mynetworks = Parameter(
        NETWORKS,
        FromMachine("made by `mynetworks_style` from the addresses of `inet_interfaces`", defaults.mynetworks),
        "The clients that are trusted as our own: networks, addresses, !network, /file.",
    )
    mynetworks_style = Parameter(
        choice("host", "subnet", "class"),
        "${{$compatibility_level} <level {2} ? {subnet} : {host}}",
        "What mynetworks is where it is not set: this machine (host), its subnets, or its classes A, B and C.",
    )
    mynetworks_may_send_as = Parameter(
        choice("anyone", "nobody-local"),
        "anyone",
        "As whom clients send without a login: anyone; or nobody-local, which keeps addresses of local users for those who log in.",
        ours=True,
    )
    smtpd_sender_login_maps = Parameter(
        ALIAS_FILES,
        "",
        "Tables of senders that logins may have besides their own address, its tags and its aliases: `address login, ...`.",
    )
    relay_domains = Parameter(
        DOMAINS_AND_BELOW,
        "${{$compatibility_level} <level {2} ? {$mydestination} : {}}",
        "Domains to take mail for and to pass it on. Nothing is passed on yet: what is not in mydestination is answered as elsewhere.",
    )
    local_recipient_maps = Parameter(
        TEXT,
        "proxy:unix:passwd.byname $alias_maps",
        "Who exists here: accounts and aliases. Empty: mail for others goes to luser_relay. No other value is possible.",
    )
    luser_relay = Parameter(
        LUSER_RELAY,
        "",
        "Who gets mail for names that nobody has, where local_recipient_maps is empty. Empty: such mail is refused.",
        raw=True,
    )
    alias_maps = Parameter(
        ALIAS_FILES,
        "hash:/etc/aliases",
        "The alias files, aliases(5). hash:, texthash:, lmdb: and the like all read the text itself, as does a path alone.",
        differs="Postfix also asks NIS where it was built with it",
    )
    alias_database = Parameter(
        ALIAS_FILES,
        "hash:/etc/aliases",
        "What newaliases(1) makes tables of; here nothing needs to be made, the text is read.",
    )
    forward_path = Parameter(
        FORWARD_PATH,
        "$home/.forward${recipient_delimiter}${extension}, $home/.forward",
        "The files in which users say where their mail goes; the first that is there counts. Empty: none are read.",
        raw=True,
    )
    recipient_delimiter = Parameter(
        DELIMITERS,
        "",
        "Characters that separate a user from a tag: with +, julien+lists@ is julien's. Empty: none do.",
    )
    admin_user = Parameter(
        ACCOUNT_OR_NOTHING,
        "",
        "Who gets root's mail (and postmaster's and abuse's) where no alias says so. Empty: the mailbox file root.",
        ours=True,
    )

    message_size_limit = Parameter(OCTETS, "10240000", "The largest message, in octets; 0: no limit.")
    mailbox_size_limit = Parameter(
        OCTETS, "51200000", "The largest mailbox, in octets; 0: no limit. Not less than message_size_limit."
    )
    line_length_limit = Parameter(COUNT_FROM_1, "2048", "The longest line of a command, in octets.")
    message_header_size_limit = Parameter(
        COUNT_FROM_1,
        "1048576",
        "The largest header of a message, in octets; of a long line, 2048 of them count.",
        ours=True,
    )
    hopcount_limit = Parameter(
        COUNT_FROM_1, "50", "The most Received headers of a message; one with more runs in circles."
    )
    message_drop_headers = Parameter(
        HEADERS,
        "bcc, content-length, resent-bcc, return-path",
        "Headers that are taken out of a message that comes in.",
    )

    minimal_backoff_time = Parameter(
        TIME, "300s", "How long what could not be delivered waits at least before it is tried again."
    )
    maximal_backoff_time = Parameter(
        TIME, "4000s", "How long it waits at most. In between it waits as long as it has been here."
    )
    queue_run_delay = Parameter(TIME, "300s", "How often the queue is looked through for what is due.")
    maximal_queue_lifetime = Parameter(
        TIME_IN_DAYS,
        "5d",
        "After so long its sender is told that it failed; 0: after one try. Time in which the service does not run does not count.",
    )
    bounce_queue_lifetime = Parameter(
        TIME_IN_DAYS, "5d", "The same for delivery reports, and for all other mail from the null sender."
    )
    delay_warning_time = Parameter(
        TIME_IN_HOURS, "0h", "After so long its sender is told that it is late, once; 0: never."
    )
    bounce_size_limit = Parameter(
        OCTETS, "50000", "How much of a message a delivery report brings back; of a larger one, its header."
    )
    notify_classes = Parameter(
        NOTICES,
        "resource, software",
        "Which trouble postmaster hears of: bounce, 2bounce, delay, policy, protocol, resource, software.",
    )
    report_language = Parameter(
        choice("en", "fr"), "en", "The language of the words in delivery reports: en or fr.", ours=True
    )
    history_days = Parameter(
        COUNT, "30", "How many days the story of a message is kept (lanmail why); 0: none is.", ours=True
    )

    smtpd_banner = Parameter(
        TEXT,
        "$myhostname ESMTP $mail_name",
        "The greeting behind 220. It begins with the name of the machine (RFC 5321, 4.2).",
    )
    smtpd_timeout = Parameter(
        TIME_FROM_1,
        "${stress?{10}:{300}}s",
        "How long a client may take for one command, or to read what it is answered.",
    )
    smtpd_per_request_deadline = Parameter(
        YES_OR_NO,
        "yes",
        "Whether smtpd_timeout is for a whole command. no: each octet begins it anew.",
        differs="one octet a minute would hold a connection for ever",
    )
    smtpd_min_data_rate = Parameter(
        COUNT_FROM_1,
        "500",
        "Octets of a message that win its client one more second, where smtpd_per_request_deadline is yes.",
    )
    smtpd_recipient_limit = Parameter(COUNT_FROM_1, "1000", "The most recipients of one message.")
    smtpd_recipient_overshoot_limit = Parameter(
        COUNT, "1000", "So many recipients past smtpd_recipient_limit are put off; each further one is an error."
    )
    smtpd_junk_command_limit = Parameter(
        COUNT,
        "${stress?{1}:{100}}",
        "So many commands that bring no mail (RSET, NOOP, VRFY, EHLO) between deliveries; each further one is an error.",
    )
    smtpd_error_sleep_time = Parameter(
        TIME, "1s", "How long the answer to an error waits, once there were smtpd_soft_error_limit of them."
    )
    smtpd_soft_error_limit = Parameter(
        COUNT, "10", "So many errors of one client without a delivery before answers wait."
    )
    smtpd_hard_error_limit = Parameter(
        COUNT_FROM_1, "${stress?{1}:{20}}", "So many errors of one client without a delivery end its connection."
    )
    smtpd_client_connection_count_limit = Parameter(
        COUNT, "50", "The most connections of one client at once; 0: no limit. Counts for SMTP and, apart, for POP3."
    )
    smtpd_client_event_limit_exceptions = Parameter(
        NETWORKS,
        "${smtpd_client_connection_limit_exceptions:$mynetworks}",
        "Clients that the limits and rates smtpd_client_... do not hold for.",
    )
    smtpd_client_connection_rate_limit = Parameter(
        COUNT,
        "0",
        "The most connections of one client in anvil_rate_time_unit; 0: no limit. Counts for SMTP and, apart, for POP3.",
    )
    smtpd_client_message_rate_limit = Parameter(
        COUNT, "0", "The most messages that one client may begin in anvil_rate_time_unit, taken or not; 0: no limit."
    )
    smtpd_client_recipient_rate_limit = Parameter(
        COUNT, "0", "The most recipients that one client may name in anvil_rate_time_unit, taken or not; 0: no limit."
    )
    smtpd_client_auth_rate_limit = Parameter(
        COUNT,
        "0",
        "The most logins that one client may try in anvil_rate_time_unit; 0: no limit. Counts for SMTP and, apart, for POP3.",
    )
    anvil_rate_time_unit = Parameter(TIME_FROM_1, "60s", "The time in which the smtpd_client_..._rate_limit count.")
    login_tries_limit = Parameter(
        COUNT_FROM_1, "4", "So many refused logins of one connection, SMTP or POP3, end it.", ours=True
    )
    max_connections = Parameter(
        COUNT_FROM_1,
        "12000",
        "The most connections of all clients at once. (Postfix's default_process_limit has no effect here.)",
        ours=True,
    )
    reserved_connections = Parameter(
        COUNT,
        FromMachine("an eighth of `max_connections`", defaults.reserved_connections),
        "How many of them are kept for mynetworks and for this machine itself, whatever strangers do.",
        ours=True,
    )
    unread_octets_limit = Parameter(
        COUNT_FROM_1,
        "65536",
        "So many octets that a client does not read are kept for it; then it is not served until it reads.",
        ours=True,
    )

    submission_header_from = Parameter(
        choice("check", "off"),
        "check",
        "Whether From and Sender in the header of a submitted message must be addresses of whoever is logged in.",
        ours=True,
    )
    submission_hide_client = Parameter(
        YES_OR_NO,
        "no",
        "Whether the Received header of a submitted message keeps quiet about the client's address and name.",
        ours=True,
    )

    pop3_banner = Parameter(TEXT, "$myhostname POP3 server ready", "The greeting behind +OK.", ours=True)
    pop3_timeout = Parameter(
        TIME, "600s", "How long a client that is logged in may be silent (RFC 1939 asks for ten minutes).", ours=True
    )
    pop3_login_timeout = Parameter(
        TIME_FROM_1,
        "180s",
        "How long a client may take in all, up to its login; what we take does not count.",
        ours=True,
    )
    pop3_login_command_limit = Parameter(
        COUNT_FROM_1, "100", "The most commands of a client that is not logged in.", ours=True
    )
    pop3_error_limit = Parameter(COUNT_FROM_1, "20", "So many errors of one client end its connection.", ours=True)
    pop3_claim_wait = Parameter(
        TIME, "3s", "How long a login waits for another session to let go of the maildrop.", ours=True
    )
    pop3_takeover_after = Parameter(
        TIME,
        "30s",
        "So long silent, a session gives way to a new login from the same address; what it marked is not deleted.",
        ours=True,
    )
    pop3_uidl_format = Parameter(
        choice("%08Xv%08Xu", "%08Xu%08Xv"),
        "%08Xv%08Xu",
        "How an earlier server made UIDLs of X-UID and X-IMAPbase: UW ipop3d's form, or Dovecot's, %08Xu%08Xv.",
        ours=True,
    )

    smtpd_tls_security_level = Parameter(
        TLS_LEVEL,
        "may",
        "At smtp_port: may offers STARTTLS; encrypt takes no mail without it; none does not offer it. Other ports always have TLS.",
        differs="a certificate is there without being asked for",
    )
    smtpd_tls_auth_only = Parameter(
        YES_OR_NO,
        "no",
        "Whether a login needs TLS even for clients that plaintext_login_networks lets log in without it.",
    )
    plaintext_login_networks = Parameter(
        NETWORKS,
        "",
        "The clients that may send a password without TLS, where everybody on their way can read it. This machine itself always may.",
        ours=True,
    )
    smtpd_tls_cert_file = Parameter(
        PEM_FILE,
        "",
        "A certificate, PEM, those between it and its authority behind it. None, or one that cannot serve: we make our own.",
    )
    smtpd_tls_key_file = Parameter(
        PEM_FILE, "$smtpd_tls_cert_file", "Its private key, PEM, without a password. It must fit the certificate."
    )
    smtpd_tls_chain_files = Parameter(
        PEM_FILES,
        "",
        "Files of private keys, each with its certificates behind it, in place of the two above; for keys of several kinds.",
    )
    smtpd_tls_protocols = Parameter(
        TLS_VERSIONS,
        ">=TLSv1.2",
        "The versions of TLS that are spoken where TLS is not required. TLSv1.2 and TLSv1.3 are all there are.",
        differs="older ones are broken; tls_legacy_clients is for devices that know nothing newer",
    )
    smtpd_tls_mandatory_protocols = Parameter(
        TLS_VERSIONS,
        ">=TLSv1.2",
        "The same where TLS is required: at submission and POP3, and at smtp_port with smtpd_tls_security_level = encrypt.",
        differs="older ones are broken; tls_legacy_clients is for devices that know nothing newer",
    )
    smtpd_starttls_timeout = Parameter(
        TIME,
        "${stress?{10}:{60}}s",
        "How long a TLS handshake may take, on every port.",
        differs="nobody who means it needs 300 s, in which a client that says nothing would hold a connection",
    )
    tls_legacy_clients = Parameter(
        PORT_OR_OFF,
        "off",
        "A port where devices that know no more than TLS 1.0 may send mail, TLS from the start. Such TLS can be broken.",
        ours=True,
    )

    accounts = Parameter(
        ACCOUNTS,
        "system",
        "Where accounts come from; the first that knows a name decides. system: the machine's, with passwords from PAM.",
        ours=True,
    )
    pam_service = Parameter(SERVICE, "lanmail", "The PAM service, a file in /etc/pam.d.", ours=True)
    pam_processes = Parameter(
        COUNT_FROM_1, "4", "How many processes ask PAM; each asks for one login at a time.", ours=True
    )
    pam_timeout = Parameter(TIME, "15s", "After so long a PAM process is ended and replaced.", ours=True)
    login_cache_time = Parameter(
        TIME,
        FromMachine(
            "`20m`, or `0` where `nsswitch.conf` or PAM name more than files and `pam_unix`", defaults.login_cache_time
        ),
        "How long a right password is remembered, so that the next poll is quick; forgotten when an account changes. 0: not at all.",
        ours=True,
    )
    user_ids = Parameter(
        USER_IDS,
        "1000-65533, 65535-4294967293",
        "The uids of the accounts that have mail. 65534 is nobody; daemons are below 1000.",
        ours=True,
    )

    device_table = Parameter(
        PATH_OR_NOTHING,
        "/etc/lanmail/devices",
        "The file of the machines that send without a login, each from one address (lanmail device). Empty: none is read.",
        ours=True,
    )

    mail_owner = Parameter(
        ACCOUNT,
        "lanmail",
        "The account that owns queue_directory/lanmail, and the mailboxes of a passwd-file.",
        differs="a Postfix on the same machine keeps its own account",
    )
    queue_directory = Parameter(
        PATH,
        "/var/spool/lanmail",
        "All that we keep besides mailboxes lies below it, in lanmail/; the rest of it is left alone.",
        differs="a Postfix on the same machine keeps its own folder, and may be put back as it was",
    )
    data_directory = Parameter(
        PATH,
        "/var/lib/lanmail",
        "Our certificate authority and our certificate lie below it, in lanmail/, which only root may look into.",
        differs="a Postfix on the same machine keeps its own folder",
    )
    mail_spool_directory = Parameter(SPOOL, "/var/mail", "The folder of the mailboxes, an mbox file for each user.")
    mailbox_delivery_lock = Parameter(
        LOCKS,
        "fcntl, dotlock",
        "Which locks a mailbox gets, on every way to it. Their order is ours: dotlock first, then the kernel's.",
    )
    stale_lock_time = Parameter(
        TIME, "500s", "A dotlock that nobody touched for so long is removed, if the kernel's lock is free."
    )
    deliver_lock_attempts = Parameter(
        COUNT_FROM_1,
        "20",
        "How often a mailbox that another program has locked is tried, before a client is told to come later.",
    )
    deliver_lock_delay = Parameter(
        TIME, "1s", "How long between two tries. (Ours come sooner at first; what counts is the time of all together.)"
    )
    maillog_file = Parameter(
        PATH_OR_NOTHING, "", "The log file, opened again at SIGHUP. Empty: standard output, which systemd keeps."
    )
    shutdown_timeout = Parameter(
        TIME, "30s", "How long a command under way may take to finish when the server is stopped.", ours=True
    )
    workers = Parameter(
        WORKERS,
        "1",
        "How many processes serve side by side; auto: one for each processor that may be used.",
        ours=True,
    )
    command_directory = Parameter(
        PATH, "/usr/sbin", "Where Postfix's commands lie. Taken and of no effect: here is one program."
    )
    daemon_directory = Parameter(
        PATH, "/usr/lib/postfix/sbin", "Where Postfix's services lie. Taken and of no effect: here is one program."
    )


PARAMETERS: Mapping[str, Parameter[Any]] = {
    name: parameter for name, parameter in vars(Settings).items() if isinstance(parameter, Parameter)
}

SECTIONS: Mapping[str, str] = {
    "myhostname": "Who we are",
    "inet_interfaces": "Where we listen",
    "mydestination": "Whose mail we take",
    "message_size_limit": "What we take",
    "minimal_backoff_time": "What waits, and what is told of it",
    "smtpd_banner": "SMTP",
    "pop3_banner": "POP3",
    "smtpd_tls_security_level": "TLS",
    "accounts": "Accounts",
    "mail_owner": "Where it lies",
}
"""The headings of the reference and of etc/main.cf, each at the parameter that it stands before."""
