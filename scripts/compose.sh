#!/usr/bin/env bash
# Usage: scripts/compose.sh env | start | stop | restart | deploy | status | reset [--yes]
# The containers of docker-compose.yml; docs/COMPOSE.md.
#   env      write .env with fresh secrets, unless it is there
#   start    build what is missing and start the services of COMPOSE_PROFILES; wait until all are well
#   stop     stop them; data is kept
#   restart  stop, then start
#   deploy   build the images again from this checkout and replace the containers that changed
#   status   what runs, and how it is
#   reset    stop everything and delete all volumes: topics, tables, files. Confirms first, unless --yes
set -euo pipefail
script=$(realpath "${BASH_SOURCE[0]}")
# shellcheck source=scripts/common.sh
source "$(dirname "$script")/common.sh"
explain "$script" "$@"

# A variable without a value gets a secret, the others have the values of the example.
write_env() {
    if [[ -e .env ]]; then
        echo ".env is there already: delete it first to begin with new secrets."
        return
    fi
    local line
    (
        umask 077
        while IFS= read -r line; do
            [[ $line =~ ^[A-Z0-9_]+=$ ]] && line+=$(od -An -N 24 -t x1 /dev/urandom | tr -d ' \n')
            printf '%s\n' "$line"
        done <.env.example >.env
    )
    echo "Wrote .env, which only you can read."
}

compose() {
    if ! docker compose version >/dev/null 2>&1; then
        echo "Docker with its compose plug-in is needed, and \`docker compose version\` fails: install" \
            "them, or run the services without containers (README.md)." >&2
        exit 1
    fi
    if [[ ! -e .env ]]; then
        echo ".env is missing: write it with \`scripts/compose.sh env\`." >&2
        exit 1
    fi
    docker compose "$@"
}

confirm() {
    [[ ${1:-} == --yes ]] && return
    local answer
    read -r -p "Delete all volumes of storelake, for good? [y/N] " answer || answer=""
    [[ $answer == [yY] ]] || {
        echo "Nothing was deleted."
        exit 1
    }
}

action=${1:-}
[[ $# -gt 0 ]] && shift
[[ $action == reset ]] || no_options "$@"
case "$action" in
    env) write_env ;;
    start) compose up --detach --wait --wait-timeout 900 ;;
    stop) compose stop ;;
    restart)
        compose stop
        compose up --detach --wait --wait-timeout 900
        ;;
    deploy) compose up --detach --build --wait --wait-timeout 1800 ;;
    status) compose ps --all ;;
    reset)
        confirm "$@"
        # Of every profile, whatever .env names now.
        compose --profile '*' down --volumes --remove-orphans
        ;;
    *) no_options "${action:-(no action)}" ;;
esac
