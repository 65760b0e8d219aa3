#!/usr/bin/env bash
# Sets up what is missing, builds everything, and runs all tests: the quick ones first, real virtual machines last.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=silo/setup.sh
source silo/setup.sh

usage() {
  cat <<'EOF'
Usage: ./test.sh [PROJECT ...]

Installs what is missing, builds everything, and runs the tests of the named projects (default: all): GrainInterfaces Grains ApiGateway Silo HostileImages EndToEnd Chaos
The last line counts them: 'N passed, N failed'. Exit code 0 only if none failed and some ran.
EOF
}

if [[ ${1:-} == --help || ${1:-} == -h ]]; then usage; exit 0; fi
projects=("$@")
if ((${#projects[@]} == 0)); then projects=(GrainInterfaces Grains ApiGateway Silo HostileImages EndToEnd Chaos); fi
for project in "${projects[@]}"; do [[ -d tests/$project ]] || fail "There is no test project '$project'; see ./test.sh --help."; done

# One project that hangs must not keep the others from being counted.
readonly project_bound=600

# A file system that can clone files is made in a file and mounted, where this user may.
install_missing mkfs.xfs:xfsprogs
install_postgresql
say "Building (Release)"
dotnet build --nologo -v quiet -c Release Instances.sln
build_guest

results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT

wanted() { [[ " ${projects[*]} " == *" $1 "* ]]; }

# A short run of the program that breaks a cluster of processes is one test, that passes where there was no violation.
run_tests() {
  if [[ $1 == Chaos ]]; then
    INSTANCES_TEST_GUEST=$PWD/$guest timeout "$project_bound" dotnet tests/Chaos/bin/Release/net10.0/Instances.Chaos.dll --seconds 30 --seed 1
  else
    INSTANCES_TEST_GUEST=$PWD/$guest timeout "$project_bound" dotnet "tests/$1/bin/Release/net10.0/Instances.$1.Tests.dll" -noColor
  fi
}

test_alone() {
  local project status
  for project in "$@"; do
    wanted "$project" || continue
    say "Testing $project"
    status=0
    run_tests "$project" 2>&1 | tee "$results/$project.log" || status=$?
    echo "$status" >"$results/$project.status"
  done
}

# What each of them says is shown when it has ended.
test_beside_others() {
  local project
  for project in "$@"; do
    wanted "$project" || continue
    test_alone "$project" >"$results/$project.shown"
    cat "$results/$project.shown"
  done
}

# Processes that are killed, and a cluster that is broken, have the machine for themselves.
say "Testing side by side: what needs no cluster of processes"
test_beside_others GrainInterfaces Grains ApiGateway &
test_beside_others Silo HostileImages &
wait
test_alone EndToEnd Chaos

passed=0 failed=0 skipped=0
for project in "${projects[@]}"; do
  status=$(cat "$results/$project.status" 2>/dev/null || echo unknown)
  if [[ $project == Chaos ]]; then
    if [[ $status == 0 ]]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
    continue
  fi

  summary=$(grep -E 'Total: [0-9]+, Errors: [0-9]+, Failed: [0-9]+' "$results/$project.log" 2>/dev/null | tail -n 1 || true)
  count() { sed -nE "s/.*$1: ([0-9]+).*/\1/p" <<<"$summary"; }
  if [[ -z $summary ]]; then
    printf 'The tests of %s did not run to their end (exit code %s).\n' "$project" "$status"
    failed=$((failed + 1))
    continue
  fi
  bad=$(($(count Failed) + $(count Errors)))
  if [[ $status != 0 ]] && ((bad == 0)); then bad=1; fi
  failed=$((failed + bad)) skipped=$((skipped + $(count Skipped)))
  passed=$((passed + $(count Total) - $(count Failed) - $(count Skipped)))
done

printf '\n'
if ((skipped)); then printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"; else printf '%d passed, %d failed\n' "$passed" "$failed"; fi
((failed == 0 && passed > 0))
