#!/usr/bin/env bash
# Installs the peers that only `make bench NAME=knn` needs (bench-constraints.txt) into build/bench/packages, once.
# .venv stays as it is. A package that cannot be installed is named, the benchmark goes on without it, and the next call tries again.
set -uo pipefail
cd "$(dirname "$0")/../.."
pins=conf/setup/bench-constraints.txt target=build/bench/packages haswell=build/bench/packages-haswell log=build/bench/packages.log
say() { printf 'set-up: %s\n' "$*" >&2; }
install() { .venv/bin/python -m pip install --no-input --no-deps --target "$@" >>$log 2>&1; }

mkdir -p build/bench
cmp -s $pins $target/constraints.txt || { rm -rf $target $haswell && mkdir -p $target && cp $pins $target/constraints.txt; }
missing=()
while IFS= read -r pin; do [ -d "$target/${pin/==/-}.dist-info" ] || missing+=("$pin"); done <$pins
[ ${#missing[@]} -eq 0 ] || say "installing packages that only the benchmark needs into $target (a minute, once; log in $log)"
for pin in ${missing[@]+"${missing[@]}"}; do
  install $target "$pin" || say "$pin could not be installed: the benchmark will name it as not measured"
done
# hnswlib is compiled for this CPU; a second build without AVX-512 serves `--avx2`. No wheel cache: it would return the first build.
pin=$(grep '^hnswlib==' $pins)
[ -d "$haswell/${pin/==/-}.dist-info" ] || HNSWLIB_NO_NATIVE=1 CFLAGS=-march=haswell CXXFLAGS=-march=haswell install $haswell --no-cache-dir "$pin" \
  || say "$pin could not be compiled for AVX2 alone: --avx2 will use the build for this CPU and say so"
exit 0
