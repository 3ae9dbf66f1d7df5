#!/usr/bin/env bash
# Check astrodl on a CUDA device: bash benchmarks/speed/gpu_check.sh OUT [options of gpu_check.py]
#
# Needs a source tree, and a python3 with torch, numpy, h5py, scipy, scikit-learn and matplotlib; astrodl need not be
# installed. Where other packages are missing, WHEELS names a folder that collect_wheels.sh filled.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
out=${1:?folder of the results is missing: bash benchmarks/speed/gpu_check.sh OUT}
mkdir -p "$out/site"
site=$(cd "$out/site" && pwd)
export PYTHONPATH="$root:$site${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1

if [[ -n ${WHEELS:-} ]]; then
  for wheel in "$WHEELS"/*.whl; do python3 -m zipfile -e "$wheel" "$site"; done
fi
# The version in the metadata of the package, which a source tree lacks
if ! python3 -c 'from importlib.metadata import version; version("astrodl")' 2> /dev/null; then
  version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/pyproject.toml")
  mkdir -p "$site/astrodl-$version.dist-info"
  printf 'Metadata-Version: 2.1\nName: astrodl\nVersion: %s\n' "$version" > "$site/astrodl-$version.dist-info/METADATA"
fi
exec python3 "$root/benchmarks/speed/gpu_check.py" "$@"
