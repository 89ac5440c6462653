#!/usr/bin/env bash
# Every check, in the order in which they fail fastest. All of them run even when one fails;
# the full interpreted test run comes last, so that pytest's summary ends the output, and it
# repeats above that summary which earlier steps failed. Exit status 0 only if all passed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=.venv/bin/python
workers=${WORKERS:-2}
wanted="not slow and not fuzz"
failed=()

step() {
    local name=$1
    shift
    printf '\n== %s\n' "$name"
    "$@" || { failed+=("$name"); printf '== %s FAILED\n' "$name"; }
}

run_pytest() {
    local build=$1 path=$2
    shift 2
    PYTHONPATH=$path TIMEWAIT_BUILD=$build TIMEWAIT_FAILED_STEPS=$(IFS=,; echo "${failed[*]-}") \
        "$python" -m pytest -n "$workers" -m "$wanted" "$@"
}

test_compiled() {
    local folders=() folder
    for folder in unit rfc lab property; do
        [ -d "tests/$folder" ] && folders+=("tests/$folder")
    done
    run_pytest compiled build/compiled "${folders[@]}"
}

step "lint" make --no-print-directory -s lint
step "types" make --no-print-directory -s types
step "layers" make --no-print-directory -s layers
step "compile" "$python" tools/compile.py
if [ -e build/compiled/stamp ]; then
    step "tests, compiled" test_compiled
fi

printf '\n== tests, interpreted\n'
run_pytest interpreted src tests
status=$?
[ "${#failed[@]}" = 0 ] || exit 1
exit "$status"
