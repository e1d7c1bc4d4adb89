#!/usr/bin/env bash
# Usage: scripts/start-all.sh
# Start the services, the streams, the gateway, quality, maintenance and the console in the
# background, and wait until they are ready. What runs already is left alone. Logs: storelake logs -f.
set -euo pipefail
script=$(realpath "${BASH_SOURCE[0]}")
# shellcheck source=scripts/common.sh
source "$(dirname "$script")/common.sh"
explain "$script" "$@"
no_options "$@"
storelake up
