#!/bin/sh
# Writes Alertmanager's whole configuration: the routes of alertmanager.yml beside this file, and receivers by which files
# of secrets there are. What has no file keeps silent.
#
#   prometheus/receivers.sh FOLDER [AS-ALERTMANAGER-SEES-IT] > made.yml
#
#   slack_url     an incoming webhook of Slack
#   teams_url     a workflow of Microsoft Teams, "when a webhook request is received" (Alertmanager 0.28 or later)
#   webhook_url   whatever takes Alertmanager's JSON (0.26 or later); webhook_token, if it wants a bearer token
#   mail_to       with mail_from and mail_smarthost (host:port); mail_username and mail_password, if it wants them
#
# A file is for finops, oncall and platform alike, or for one of them: `oncall.webhook_url`, `finops.mail_to`. The
# watchdog has only files of its own (`watchdog.webhook_url`): something that notices when it stops.
set -eu

secrets=${1:?a folder of secrets}
seen=${2:-$secrets}
routes=$(dirname "$0")/alertmanager.yml

# The file of this value for the receiver, or nothing.
file() {
    if [ -s "$secrets/$receiver.$1" ]; then echo "$receiver.$1"
    elif [ "$receiver" != watchdog ] && [ -s "$secrets/$1" ]; then echo "$1"
    fi
}

# The value in a file, quoted for YAML.
value() {
    name=$(file "$1")
    [ -n "$name" ] || { echo "receivers.sh: $receiver has mail_to, but there is no $secrets/$1" >&2; exit 1; }
    printf "'%s'" "$(tr -d '\r\n' <"$secrets/$name" | sed "s/'/''/g")"
}

slack() {
    cat <<END
    slack_configs:
      - api_url_file: $seen/$1
        send_resolved: true
        title: '{{ if eq .Status "resolved" }}Over: {{ end }}{{ .CommonAnnotations.summary }}'
        text: '{{ range .Alerts }}{{ .Annotations.summary }}. {{ .Annotations.description }} ({{ .Annotations.runbook_url }}){{ "\n" }}{{ end }}'
END
}

teams() {
    cat <<END
    msteamsv2_configs:
      - webhook_url_file: $seen/$1
        send_resolved: true
        title: '{{ if eq .Status "resolved" }}Over: {{ end }}{{ .CommonAnnotations.summary }}'
        text: '{{ range .Alerts }}{{ .Annotations.summary }}. {{ .Annotations.description }} ({{ .Annotations.runbook_url }}){{ "\n\n" }}{{ end }}'
END
}

webhook() {
    printf '    webhook_configs:\n      - url_file: %s\n        send_resolved: true\n' "$seen/$1"
    token=$(file webhook_token)
    [ -z "$token" ] || printf '        http_config:\n          authorization: {credentials_file: %s}\n' "$seen/$token"
}

mail() {
    to=$(value mail_to); from=$(value mail_from); smarthost=$(value mail_smarthost)
    printf '    email_configs:\n      - to: %s\n        from: %s\n        smarthost: %s\n        send_resolved: true\n' "$to" "$from" "$smarthost"
    password=$(file mail_password)
    [ -n "$password" ] || return 0
    username=$(value mail_username)
    printf '        auth_username: %s\n        auth_password_file: %s\n' "$username" "$seen/$password"
}

sed '/^receivers:/,$d' "$routes"
echo "receivers:"
for receiver in platform finops oncall watchdog; do
    echo "  - name: $receiver"
    heard=""
    for way in slack:slack_url teams:teams_url webhook:webhook_url mail:mail_to; do
        found=$(file "${way#*:}")
        [ -n "$found" ] || continue
        "${way%%:*}" "$found"
        heard="$heard ${way%%:*}"
    done
    echo "receivers.sh: $receiver:${heard:- nobody}" >&2
done
