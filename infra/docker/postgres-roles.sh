#!/usr/bin/env bash
# Run once by the image of Postgres, when the volume is empty: the role of the console, which may
# read what `storelake prepare` grants it (infra/postgres/roles.py), and nothing else.
set -euo pipefail
psql --set ON_ERROR_STOP=1 --set password="$CONSOLE_PASSWORD" --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
CREATE ROLE storelake_console LOGIN CONNECTION LIMIT 8 PASSWORD :'password';
SQL
