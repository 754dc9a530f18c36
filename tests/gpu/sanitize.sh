#!/bin/sh
# SPDX-FileCopyrightText: 2026 The Lathe authors
# SPDX-License-Identifier: MIT
# compute-sanitizer over small grids: memcheck and racecheck have to be clean. Then, if mutants were built
# (tests/mutate.py --gpu --build DIR), the ones with a missing wait or barrier have to be flagged, by
# racecheck or by the stress test. From the repository's root:
#
#   sh tests/gpu/sanitize.sh BUILD [MUTANTS]
set -u
build=${1:?usage: sh tests/gpu/sanitize.sh BUILD [MUTANTS]}
mutants=${2:-}
[ -d "$build/tests/gpu" ] && build=$build/tests/gpu
logs=${OUT:-$(mktemp -d)}
LD_LIBRARY_PATH=$PWD/.gpu/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}:/usr/local/cuda/lib64 # NVRTC last
export LD_LIBRARY_PATH
tool=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
if [ ! -x "$tool" ]; then
  echo "sanitize.sh: skipped: no compute-sanitizer"
  exit 0
fi
failed=0

# The tests run in this one process (--direct), so that the tool sees their kernels.
check() { # tool, name, program arguments
  log=$logs/sanitize-$1-$2.log
  program=$build/gpu_$2
  [ -x "$program" ] || program=$build/$2
  start=$(date +%s)
  timeout 580 "$tool" --tool "$1" --error-exitcode 9 --print-limit 20 "$program" --direct --small \
    >"$log" 2>&1
  status=$?
  took=$(($(date +%s) - start))
  if [ "$status" -eq 0 ]; then
    printf '%-10s %-10s clean  %4d s  %s\n' "$1" "$2" "$took" "$(grep 'SUMMARY' "$log" | tail -n 1)"
  else
    failed=$((failed + 1))
    printf '%-10s %-10s FAILED %4d s  exit %d\n' "$1" "$2" "$took" "$status"
    grep -E '=========|^not ok|# FAILED' "$log" | head -n 15 | sed 's/^/    /'
  fi
}

for name in grid edges graph schedule append merge; do
  check memcheck "$name"
  check racecheck "$name"
done

for folder in ${mutants:+"$mutants"/*}; do
  [ -f "$folder/race" ] || continue # mutate.py marks those that a race detector is for
  name=$(basename "$folder")
  log=$logs/sanitize-mutant-$name.log
  by=
  timeout 580 "$tool" --tool racecheck --error-exitcode 9 --print-limit 5 "$folder/grid" --direct --small \
    >"$log" 2>&1
  grep -q -E 'RACECHECK SUMMARY: [1-9]' "$log" && by="racecheck"
  timeout 120 "$folder/stress" --direct >>"$log" 2>&1 || by="$by stress"
  if [ -n "$by" ]; then
    echo "mutant $name: flagged by $by"
  else
    failed=$((failed + 1))
    echo "mutant $name: NOT flagged"
  fi
done
[ "$failed" -eq 0 ]
