#!/usr/bin/env bash
# Usage: scripts/test-flow.sh [OPTIONS OF storelake check]
# Send 100 events, some of them broken, late or repeated, through a running deployment (start-all.sh),
# follow each to where it belongs, and end with an error if one is missing or there twice.
# Options replace or add to these: scripts/test-flow.sh --count 1000 --rate 3000
set -euo pipefail
script=$(realpath "${BASH_SOURCE[0]}")
# shellcheck source=scripts/common.sh
source "$(dirname "$script")/common.sh"
explain "$script" "$@"
storelake check --count 100 --poison 0.1 --late 0.05 --duplicates 0.1 "$@"
