#!/bin/sh
# lanmail.sh start|stop     lanmail as an administrator runs it: started by root, with the guard, the system's users and
# PAM, mbox in /var/mail, its log in a file. Every parameter that costs time is at its default. LANMAIL_EXTRA: lines of
# main.cf to add. LANMAIL_PYTHON: the interpreter.
set -eu
here=$(cd "$(dirname "$0")" && pwd); root=$(cd "$here/../.." && pwd)
pidf=${BENCH_TMP:-/var/tmp}/lanmail-bench.pid; spool=/var/spool/lanmail-bench
unset PYTHONDONTWRITEBYTECODE # an installed program is compiled
if [ "$1" = stop ]; then exec kill "$(cat "$pidf")"; fi
# Not below BENCH_TMP, where everybody may write: what is to be trusted by root may not lie there.
install -d -m 0755 $spool /var/lib/lanmail-bench
cat > $spool/main.cf <<C
myhostname = srvlinux.iscb-corporation.com
mydomain = iscb-corporation.com
mydestination = \$mydomain, \$myhostname, localhost.\$mydomain, localhost
myorigin = \$mydomain
inet_interfaces = 127.0.0.1
mynetworks = 127.0.0.0/8
smtp_port = 5525
pop3_port = 5110
queue_directory = $spool
data_directory = /var/lib/lanmail-bench
mail_spool_directory = /var/mail
mail_owner = lanmail
maillog_file = /var/log/lanmail-bench.log
message_size_limit = 52428800
mailbox_size_limit = 0
${LANMAIL_EXTRA:-}
C
ulimit -n 200000 2>/dev/null || ulimit -n 20000
cd /
PYTHONPATH=$root "${LANMAIL_PYTHON:-python3}" -m twisted lanmail --config $spool/main.cf \
    > "${BENCH_TMP:-/var/tmp}/lanmail-bench.out" 2>&1 &
echo $! > "$pidf"
