#!/usr/bin/env bash
# Makes .venv (exact versions from constraints.txt), fetches the jars once, and tells pyspark where they are.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=conf/setup
say() { printf 'set-up: %s\n' "$*" >&2; }
fail() { say "$*"; exit 2; }

python=""
for candidate in "${PYTHON:-}" python3.11 python3.12 python3.13 python3 python; do
  [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 || continue
  if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then python=$candidate; break; fi
done
[ -n "$python" ] || fail "Python 3.11, 3.12 or 3.13 is missing: found $(python3 --version 2>/dev/null || echo none); install it or set PYTHON=/path/to/python3.11"

java="${JAVA_HOME:+$JAVA_HOME/bin/}java"
command -v "$java" >/dev/null 2>&1 || fail "Java is missing: install a Java 17 or 21 runtime (Debian: openjdk-17-jre-headless) or set JAVA_HOME"
major=$("$java" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1)
case "$major" in 17 | 21) ;; *) fail "Java 17 or 21 is needed: $java is version ${major:-unknown}; install one or set JAVA_HOME" ;; esac

mkdir -p build
if ! cmp -s $here/constraints.txt .venv/constraints.txt; then
  say "installing the pinned packages into .venv (a few minutes, once; log in build/set-up.log)"
  rm -rf .venv
  "$python" -m venv .venv || fail "$python cannot make a virtual environment: install its venv module (Debian: python3.11-venv)"
  # The file lists the whole closure, so nothing is left to resolve.
  .venv/bin/python -m pip install --no-input --no-deps -r $here/constraints.txt >build/set-up.log 2>&1 || fail "pip failed: $(grep -i error build/set-up.log | tail -n 1)"
  .venv/bin/python -m pip install --no-input --no-deps --no-build-isolation -e . >>build/set-up.log 2>&1 || fail "installing vsspark failed: see build/set-up.log"
  .venv/bin/python -m pip check >>build/set-up.log 2>&1 || fail "the pinned packages disagree: $(.venv/bin/python -m pip check | head -n 1)"
  cp $here/constraints.txt .venv/constraints.txt
fi

spark_home=$(.venv/bin/python -c 'import pyspark; print(pyspark.__path__[0])')
if ! cmp -s $here/jars.xml build/jars/jars.xml; then
  say "fetching the Delta and S3 jars into build/jars (once)"
  rm -rf build/jars
  "$java" -jar "$spark_home"/jars/ivy-*.jar -settings $here/ivysettings.xml -ivy $here/jars.xml -cache build/ivy \
    -retrieve "build/jars/[artifact]-[revision].[ext]" -warn >build/jars.log 2>&1 || fail "fetching the jars failed: $(tail -n 1 build/jars.log)"
  cp $here/jars.xml build/jars/jars.xml
fi

# pip's spark-submit looks for Spark through the PATH's python3; this one works whether or not the environment is activated.
printf '#!/bin/sh\nexport SPARK_HOME="%s"\nexec "$SPARK_HOME/bin/spark-submit" "$@"\n' "$spark_home" >.venv/bin/spark-submit
mkdir -p "$spark_home/conf"
cp $here/log4j2.properties "$spark_home/conf/log4j2.properties"
{
  sed '/^#/d' $here/spark-defaults.conf
  printf 'spark.pyspark.python %s\nspark.pyspark.driver.python %s\n' "$PWD/.venv/bin/python" "$PWD/.venv/bin/python"
  printf 'spark.jars %s\n' "$(printf '%s,' "$PWD"/build/jars/*.jar | sed 's/,$//')"
} >"$spark_home/conf/spark-defaults.conf"
say "ready: Python $(.venv/bin/python -c 'import platform; print(platform.python_version())'), Java $major, Spark $(.venv/bin/python -c 'import pyspark; print(pyspark.__version__)')"
