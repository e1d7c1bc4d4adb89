#!/usr/bin/env bash
# Usage: scripts/restart-all.sh
# Stop everything in order and start it again; streams go on where they were.
set -euo pipefail
script=$(realpath "${BASH_SOURCE[0]}")
# shellcheck source=scripts/common.sh
source "$(dirname "$script")/common.sh"
explain "$script" "$@"
no_options "$@"
scripts/stop-all.sh
scripts/start-all.sh
