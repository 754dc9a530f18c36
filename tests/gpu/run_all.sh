#!/bin/sh
# SPDX-FileCopyrightText: 2026 The Lathe authors
# SPDX-License-Identifier: MIT
# Runs every GPU test that was built, one after the other, and counts. From the repository's root:
#
#   sh tests/gpu/run_all.sh BUILD [NAME...]
#
# BUILD has the programs, or tests/gpu/ with them; the program of a NAME is NAME or gpu_NAME.
#
# Each program's output goes to $OUT (or a temporary folder) as NAME.log; a failed one is shown. Ends 0 if
# nothing failed. Libraries that were carried along are taken from .gpu/lib.
set -u
build=${1:?usage: sh tests/gpu/run_all.sh BUILD [NAME...]}
shift
[ -d "$build/tests/gpu" ] && build=$build/tests/gpu
logs=${OUT:-$(mktemp -d)}
LD_LIBRARY_PATH=$PWD/.gpu/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}:/usr/local/cuda/lib64 # NVRTC last
export LD_LIBRARY_PATH
names=${*:-"context grid edges e4m3 graph lengths maxima shapes lazy streams addressing aot symbols validate minicpm3 models options ranks topk programmatic schedule stress append merge"}
passed=0 failed=0 skipped=0 missing=
begin=$(date +%s)
for name in $names; do
  program=$build/gpu_$name
  [ -x "$program" ] || program=$build/$name
  if [ ! -x "$program" ]; then
    missing="$missing $name"
    continue
  fi
  log=$logs/$name.log
  start=$(date +%s)
  timeout 900 "$program" --tap=- >"$log" 2>&1
  status=$?
  took=$(($(date +%s) - start))
  ok=$(grep -c '^ok ' "$log")
  skip=$(grep -c '^ok .*# SKIP' "$log")
  bad=$(grep -c '^not ok ' "$log")
  # a program that dies before it can say so has failed all the same
  [ "$status" -ne 0 ] && [ "$bad" -eq 0 ] && bad=1
  passed=$((passed + ok - skip)) failed=$((failed + bad)) skipped=$((skipped + skip))
  printf '%-12s %3d passed %3d failed %3d skipped  %4d s  exit %d\n' \
    "$name" $((ok - skip)) "$bad" "$skip" "$took" "$status"
  if [ "$bad" -ne 0 ]; then
    grep -E '^(not ok|# FAILED)|returns|signal|abort|Assertion|error' "$log" | head -n 25 | sed 's/^/    /'
  else
    grep -E '^# ' "$log" | grep -v -E 'Criterion|Running' | head -n 12 | sed 's/^/    /'
  fi
done
[ -n "$missing" ] && echo "not built:$missing"
echo "GPU tests: $passed passed, $failed failed, $skipped skipped, $(($(date +%s) - begin)) s"
[ "$failed" -eq 0 ] && [ $((passed + skipped)) -gt 0 ]
