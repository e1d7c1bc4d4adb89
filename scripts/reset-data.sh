#!/usr/bin/env bash
# Usage: scripts/reset-data.sh [--yes]
# Stop everything and delete all local data: topics, tables, files and checkpoints. Confirms
# first, unless --yes.
set -euo pipefail
script=$(realpath "${BASH_SOURCE[0]}")
# shellcheck source=scripts/common.sh
source "$(dirname "$script")/common.sh"
explain "$script" "$@"
storelake reset "$@"
