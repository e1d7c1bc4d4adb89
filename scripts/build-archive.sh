#!/usr/bin/env bash
# Usage: scripts/build-archive.sh [PACKAGE...]
# Build dist/storelake-VERSION-pyX.Y.tar.gz: what streams need on a cluster besides Spark, for
# `spark-submit --archives` (docs/DEPLOY.md). PACKAGEs are added: pulsar-client, deltalake.
# It is for the system, the processor and the Python (X.Y) that built it.
set -euo pipefail
script=$(realpath "${BASH_SOURCE[0]}")
# shellcheck source=scripts/common.sh
source "$(dirname "$script")/common.sh"
explain "$script" "$@"
for package in "$@"; do
    [[ $package != -* ]] || no_options "$package"
done

python=.venv/bin/python
[[ -x $python ]] || python=python3
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
minor=$("$python" -c 'import sys; print("{}.{}".format(*sys.version_info))')
archive=dist/storelake-$version-py$minor.tar.gz

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p dist "$work/bin" "$work/lib"

"$python" -m pip install -q --disable-pip-version-check --target "$work/lib" \
    -c constraints.txt -r infra/cluster/requirements.txt "$@"
cp -R conf streaming udfs "$work/lib/"
"$python" -m compileall -q "$work/lib/conf" "$work/lib/streaming" "$work/lib/udfs"

# Not a copy of a virtual environment: that has the place of its Python written into it.
cat >"$work/bin/python" <<LAUNCHER
#!/bin/sh
# Python $minor of this machine, with the packages beside it.
here=\$(cd "\$(dirname "\$0")/.." && pwd)
PYTHONPATH="\$here/lib\${PYTHONPATH:+:\$PYTHONPATH}"
export PYTHONPATH
exec python$minor "\$@"
LAUNCHER
chmod 755 "$work/bin/python"

tar -C "$work" -cf - bin lib | gzip -1 >"$archive.part"
mv "$archive.part" "$archive"
echo "$archive"
