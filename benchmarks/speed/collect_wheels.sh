#!/usr/bin/env bash
# Collect the packages that gpu_check.sh needs on a machine without network:
#   bash benchmarks/speed/collect_wheels.sh PYTHON_VERSION OUT [PACKAGE...]
#
# PYTHON_VERSION is that of the machine, such as 3.12. An image with PyTorch and the usual scientific packages lacks the
# packages below; name those that it lacks besides: scipy, scikit-learn, matplotlib, h5py. Versions are those of
# constraints.txt. No GalSim: nothing is simulated.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
usage="bash benchmarks/speed/collect_wheels.sh PYTHON_VERSION OUT [PACKAGE...]"
python_version=${1:?$usage}
out=${2:?$usage}
shift 2
largest=$((64 * 1024 * 1024))

packages=(
  astropy astropy-iers-data pyerfa
  pydantic pydantic-core annotated-types typing-extensions typing-inspection
  packaging pyyaml rich markdown-it-py mdurl pygments safetensors
  pytest pluggy iniconfig
)
for package in "$@"; do
  case $package in
    matplotlib) packages+=(matplotlib contourpy cycler fonttools kiwisolver pillow pyparsing python-dateutil) ;;
    scikit-learn) packages+=(scikit-learn joblib narwhals threadpoolctl) ;;
    *) packages+=("$package") ;;
  esac
done
platforms=()
for version in 2_28 2_27 2_24 2_17; do platforms+=(--platform "manylinux_${version}_x86_64"); done
platforms+=(--platform manylinux2014_x86_64)

mkdir -p "$out"
python3 -m pip download -qq --no-deps --only-binary=:all: --implementation cp --python-version "$python_version" \
  "${platforms[@]}" --constraint "$root/constraints.txt" --dest "$out" "${packages[@]}"
size=$(cat "$out"/*.whl | wc -c)
printf '%s: %d wheels, %.1f MiB\n' "$out" "$(find "$out" -name '*.whl' | wc -l)" "$(awk "BEGIN {print $size / 2^20}")"
if ((size > largest)); then
  echo "$out: larger than 64 MiB; leave out packages that the machine has" >&2
  exit 1
fi
