#!/usr/bin/env bash
# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
#
# Writes the lock files from the .in files, for Python 3.10 to 3.12 on Linux x86-64: every package with its version and
# the hashes of all its files, one package a line. After a change of an .in file, in `./run shell` (it has uv):
#
#     requirements/lock.sh [--upgrade | --upgrade-package NAME]
#
# Versions stay as they are where the .in files allow it, unless uv is told to upgrade.
set -euo pipefail
folder=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cp "$folder"/*.in .
cat "$folder"/{installer,onboard,ros,test,torch-cuda}.lock >all.lock
# uv resolves for every platform and every Python from 3.10 on, unless the project that it runs in names fewer.
cat >pyproject.toml <<'TOML'
[project]
name = "locks"
version = "0"
[tool.uv]
environments = ["python_full_version < '3.13' and platform_machine == 'x86_64' and platform_python_implementation == 'CPython' and sys_platform == 'linux'"]
TOML
compile() {
  uv --quiet --no-python-downloads pip compile --universal --python-version 3.10 --generate-hashes \
    --no-annotate --no-header "$@" >/dev/null
}
compile "$@" -o all.lock ./*.in # together, so that they agree

: >written
for name in installer onboard ros test; do
  compile -c all.lock -o "$name.out" "$name.in"
  # One line a package, without what `environments` adds to every marker; a package that two .in files need is written
  # to the first of onboard, ros and test only: beside a sourced ROS 2, which has its own, test.lock comes without the others.
  sed -E -e ':a' -e '/\\$/{N;s/ *\\\n */ /;ba' -e '}' "$name.out" |
    sed -E "s/ and platform_machine == .* and sys_platform == 'linux'//; s/( and| ;) python_full_version < '3\.13'//" |
    { grep -vxFf written || true; } >"$name.lines"
  [[ $name == installer ]] || cat "$name.lines" >>written
done

# PyTorch and what only its CUDA build needs have a lock of their own: ./run installs them last, or torch-cpu.lock instead.
grep -E '^(torch|triton|cuda-toolkit|nvidia-[a-z0-9-]+)==' test.lines | grep -v '^nvidia-cuda-nvrtc==' >torch-cuda.lines
grep -vxFf torch-cuda.lines test.lines >rest
mv rest test.lines

for name in installer onboard ros test torch-cuda; do
  { echo "# Made by lock.sh for Python 3.10, 3.11 and 3.12 on Linux x86-64."; cat "$name.lines"; } >"$folder/$name.lock"
  echo "$name.lock: $(wc -l <"$name.lines") lines"
done
