# Sourced by the scripts beside it: where the command line is, and its --help.
# shellcheck shell=bash
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The environment of the checkout if there is one (`make install`), else whatever is on the PATH.
storelake() {
    if [[ -x .venv/bin/storelake ]]; then
        .venv/bin/storelake "$@"
    elif command -v storelake >/dev/null; then
        command storelake "$@"
    else
        echo "storelake is not installed: run \`make install\` first." >&2
        return 1
    fi
}

# The comment at the head of a script is its manual.
manual() {
    sed -nE '2,/^[^#]/ s/^# ?//p' "$1"
}

# explain SCRIPT "$@": answer --help.
explain() {
    local script=$1
    shift
    case "${1:-}" in
        -h | --help)
            manual "$script"
            exit 0
            ;;
    esac
}

# no_options "$@": refuse whatever is left.
no_options() {
    if [[ $# -gt 0 ]]; then
        echo "$1 is unknown; see --help." >&2
        exit 2
    fi
}
