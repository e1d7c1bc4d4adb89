#!/bin/sh
# Usage: alertmanager.sh TEMPLATE FILE [COMMAND ...]
# Writes FILE from TEMPLATE and the environment (docs/MONITORING.md), then runs COMMAND.
#   ALERT_WEBHOOK_URL                                address that gets alerts
#   ALERT_EMAIL_TO, ALERT_EMAIL_FROM, ALERT_SMTP     mail; ALERT_SMTP is HOST:PORT, with STARTTLS
#   ALERT_SMTP_USER, ALERT_SMTP_PASSWORD             its login, if it needs one
set -eu
umask 077
template=$1 file=$2
shift 2
awk '
{
    out = ""; rest = $0; unset = 0
    if ($0 ~ /^ *#/) next
    while (match(rest, /\$\{[A-Z_]+-?\}/)) {
        name = substr(rest, RSTART + 2, RLENGTH - 3)
        optional = sub(/-$/, "", name)
        value = ENVIRON[name]
        if (value == "" && !optional) unset = 1
        gsub(/\047/, "\047\047", value)  # a quote in a quoted text of YAML
        out = out substr(rest, 1, RSTART - 1) value
        rest = substr(rest, RSTART + RLENGTH)
    }
    if (!unset) print out rest
}' "$template" >"$file"
[ $# -eq 0 ] || exec "$@"
