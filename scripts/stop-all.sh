#!/usr/bin/env bash
# Usage: scripts/stop-all.sh
# Stop all processes after what is under way, then the services. Data is kept.
set -euo pipefail
script=$(realpath "${BASH_SOURCE[0]}")
# shellcheck source=scripts/common.sh
source "$(dirname "$script")/common.sh"
explain "$script" "$@"
no_options "$@"
storelake down
