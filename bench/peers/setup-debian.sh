#!/bin/sh
# Prepare a THROW-AWAY Debian 12 machine for the benchmark.  Idempotent; root.
# It creates the users u001..u100, rewrites the configuration of Postfix and
# Dovecot, and later runs empty /var/mail/u###.  Never run it where mail matters.
#
#   setup-debian.sh                      users, tools, lanmail's account and PAM service, Postfix + Dovecot
#   setup-debian.sh PART...              only these parts, or `all`:
#       users tools lanmail postfix dovecot twisted aiosmtpd exim opensmtpd popa3d haraka
#
# The peers that cannot be installed beside Postfix (exim, opensmtpd) and popa3d
# are unpacked under PEERS_DIR; Python and node peers go there too.
set -eu
PEERS_DIR=${PEERS_DIR:-/var/tmp/mailbench-peers}
USERS=${BENCH_USERS:-100}
DOMAIN=iscb-corporation.com HOST=srvlinux.iscb-corporation.com
SMTP_PORT=2525 POP3_PORT=1110
export DEBIAN_FRONTEND=noninteractive

say() { echo "setup: $*"; }
apt_fresh=
apt_install() {
    [ -n "$apt_fresh" ] || { apt-get update -qq; apt_fresh=1; }
    apt-get install -qq -y --no-install-recommends "$@" >/dev/null
}
no_autostart() {          # a package must not start its daemon; undone by autostart
    [ -e /usr/sbin/policy-rc.d ] && return 0
    printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
    made_policy=1
}
autostart() { [ -z "${made_policy:-}" ] || rm -f /usr/sbin/policy-rc.d; }
trap autostart EXIT

unpack() {                # unpack PACKAGE: the files of a Debian package, not installed
    d=$PEERS_DIR/x-$1
    [ -d "$d/usr" ] && return 0
    [ -n "$apt_fresh" ] || { apt-get update -qq; apt_fresh=1; }
    t=$(mktemp -d)
    chmod 755 "$t"
    (cd "$t" && apt-get download -qq "$1" >/dev/null)
    mkdir -p "$d"
    dpkg -x "$t"/*.deb "$d"
    rm -rf "$t"
}

do_users() {
    n=0
    for i in $(seq 1 "$USERS"); do
        u=$(printf 'u%03d' "$i")
        getent passwd "$u" >/dev/null && continue
        useradd -M -N -g users -d /nonexistent -s /usr/sbin/nologin "$u"
        echo "$u:pw-$u" | chpasswd          # the system's own hash (Debian 12: yescrypt)
        n=$((n + 1))
    done
    mkdir -p /var/mail && chgrp mail /var/mail && chmod 2775 /var/mail
    say "users u001..$(printf 'u%03d' "$USERS") ($n new)"
}

do_tools() {
    apt_install gcc libc6-dev make strace procps python3 python3-venv ca-certificates
    say "compiler, strace, python3"
}

do_lanmail() {            # as README.md does it; the program itself is this checkout
    getent passwd lanmail >/dev/null || useradd -r -M -d /nonexistent -s /usr/sbin/nologin lanmail
    [ -e /etc/pam.d/lanmail ] || cp "$(dirname "$0")/../../etc/pam.d/lanmail" /etc/pam.d/lanmail
    [ -e /etc/aliases ] || printf 'postmaster: root\n' > /etc/aliases
    say "lanmail's account and its PAM service"
}

do_postfix() {
    command -v postconf >/dev/null || {
        no_autostart
        echo "postfix postfix/main_mailer_type select Internet Site" | debconf-set-selections
        echo "postfix postfix/mailname string $HOST" | debconf-set-selections
        apt_install postfix
        systemctl disable --now postfix >/dev/null 2>&1 || true
        autostart
    }
    [ -s /etc/postfix/main.cf ] || cp /usr/share/postfix/main.cf.debian /etc/postfix/main.cf
    [ -e /etc/aliases ] || printf 'postmaster: root\n' > /etc/aliases
    newaliases
    # what makes it a LAN server on a loopback port; everything that costs time stays as installed
    postconf -e "myhostname = $HOST" "mydomain = $DOMAIN" 'myorigin = $mydomain' \
        'mydestination = $mydomain, $myhostname, localhost.$mydomain, localhost' \
        'inet_interfaces = 127.0.0.1' 'inet_protocols = ipv4' 'mynetworks = 127.0.0.0/8' \
        'relayhost =' 'default_transport = error' 'relay_transport = error' \
        'mailbox_command =' 'home_mailbox =' 'mail_spool_directory = /var/mail' \
        'mailbox_size_limit = 0' 'message_size_limit = 52428800' \
        'alias_maps = hash:/etc/aliases' 'alias_database = hash:/etc/aliases' \
        'maillog_file = /var/log/mail.log'
    postconf -MX smtp/inet 2>/dev/null || true
    postconf -Me "$SMTP_PORT/inet = $SMTP_PORT inet n - n - - smtpd"
    postconf -Mf postlog/unix-dgram 2>/dev/null | grep -q postlogd ||
        postconf -Me 'postlog/unix-dgram = postlog unix-dgram n - n - 1 postlogd'
    touch /var/log/mail.log && chmod 666 /var/log/mail.log      # postsuper logs as another user
    say "Postfix $(postconf -h mail_version) on 127.0.0.1:$SMTP_PORT (not started)"
}

do_dovecot() {
    command -v doveadm >/dev/null || {
        no_autostart
        apt_install dovecot-pop3d
        systemctl disable --now dovecot >/dev/null 2>&1 || true
        autostart
    }
    mkdir -p /var/lib/dovemail && chmod 1777 /var/lib/dovemail
    sed -i 's/^ssl/#ssl/' /etc/dovecot/conf.d/10-ssl.conf       # names a certificate that was not made
    cat > /etc/dovecot/local.conf <<C
protocols = pop3
ssl = no
listen = 127.0.0.1
disable_plaintext_auth = no
mail_location = mbox:/var/lib/dovemail/%u:INBOX=/var/mail/%u
mail_privileged_group = mail
log_path = /var/log/dovecot.log
info_log_path = /var/log/dovecot-info.log
service pop3-login {
  inet_listener pop3 {
    port = $POP3_PORT
  }
  inet_listener pop3s {
    port = 0
  }
}
!include_try local-tuning.conf
C
    say "Dovecot $(dovecot --version | cut -d' ' -f1) on 127.0.0.1:$POP3_PORT (not started)"
}

venv() {                  # the interpreter of the Python peers: $PEERS_DIR/venv/bin/python
    [ -x "$PEERS_DIR/venv/bin/pip" ] || { apt_install python3-venv; python3 -m venv "$PEERS_DIR/venv"; }
    "$PEERS_DIR/venv/bin/pip" install -q --disable-pip-version-check "$@"
}
do_twisted() { venv twisted python-pam six; say "Twisted in $PEERS_DIR/venv"; }
do_aiosmtpd() { venv aiosmtpd; say "aiosmtpd in $PEERS_DIR/venv"; }
do_exim() { apt_install libidn12 libgnutls-dane0 libpcre2-8-0 libdb5.3 libnsl2; unpack exim4-daemon-light; say "Exim unpacked"; }
do_opensmtpd() { apt_install libevent-2.1-7 libssl3 libdb5.3; unpack opensmtpd; say "OpenSMTPD unpacked"; }
do_popa3d() { apt_install xinetd; systemctl disable --now xinetd >/dev/null 2>&1 || true; unpack popa3d; say "popa3d unpacked"; }
do_haraka() {
    command -v npm >/dev/null || apt_install nodejs npm
    mkdir -p "$PEERS_DIR/haraka"
    [ -d "$PEERS_DIR/haraka/node_modules/Haraka" ] ||
        (cd "$PEERS_DIR/haraka" && npm install --no-audit --no-fund --silent Haraka >/dev/null)
    say "Haraka in $PEERS_DIR/haraka (node $(node --version))"
}

[ "$(id -u)" = 0 ] || { echo "root is needed" >&2; exit 1; }
mkdir -p "$PEERS_DIR"
[ $# -gt 0 ] || set -- users tools lanmail postfix dovecot
[ "$1" != all ] || set -- users tools lanmail postfix dovecot twisted aiosmtpd exim opensmtpd popa3d haraka
for part; do
    case $part in
    users|tools|lanmail|postfix|dovecot|twisted|aiosmtpd|exim|opensmtpd|popa3d|haraka) "do_$part" ;;
    *) echo "unknown part: $part" >&2; exit 2 ;;
    esac
done
