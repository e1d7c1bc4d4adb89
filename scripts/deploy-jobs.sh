#!/usr/bin/env bash
# Usage: scripts/deploy-jobs.sh
# Bring the tables of the database up to date, then run the streams with the code and the settings
# as they are now. The gateway takes events meanwhile; streams go on where they were.
set -euo pipefail
script=$(realpath "${BASH_SOURCE[0]}")
# shellcheck source=scripts/common.sh
source "$(dirname "$script")/common.sh"
explain "$script" "$@"
no_options "$@"
storelake migrate
storelake stop streams
storelake start streams
