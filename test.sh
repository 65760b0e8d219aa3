#!/usr/bin/env bash
# Sets up what is missing, builds everything, and runs all tests: the quick ones first, real virtual machines last.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=silo/setup.sh
source silo/setup.sh

readonly all=(GrainInterfaces Grains ApiGateway Silo HostileImages EndToEnd Chaos)

usage() {
  cat <<EOT
Usage: ./test.sh [PROJECT ...] [-- RUNNER-OPTION ...]

Installs what is missing, builds everything, and runs the tests of the named projects (default: all): ${all[*]}
What follows -- goes to the test runner, for example: ./test.sh EndToEnd -- -class '*KillTests'
The last line counts the tests: 'N passed, N failed'. Exit code 0 only if none failed and some ran.
All files of the tests are in one temporary folder. At the end, also after Ctrl-C, every process that works in the folder is ended and the folder is deleted.
EOT
}

projects=() options=()
while (($#)); do
  case $1 in
    --help | -h) usage; exit 0 ;;
    --) shift; options=("$@"); break ;;
    *) [[ " ${all[*]} " == *" $1 "* ]] || fail "There is no test project '$1'; see ./test.sh --help."; projects+=("$1") ;;
  esac
  shift
done
((${#projects[@]})) || projects=("${all[@]}")

# A project that hangs must not keep the others from being counted. On a quiet machine the slowest takes some four minutes.
readonly project_bound=3000

# XFS: tests make a file system that can clone files, if this user may mount one.
install_missing mkfs.xfs:xfsprogs
install_postgresql
say "Building (Release)"
dotnet build --nologo -v quiet -c Release Instances.sln
build_guest

# Short, because it is a part of the paths of Unix sockets; open, because guests and PostgreSQL run as other users.
run=$(mktemp -d /tmp/it-XXXXXX)
readonly run memory=/dev/shm/${run##*/}
chmod 755 "$run"
results=$run/results
mkdir "$results"

# Processes of the tests carry the folder in their command line, their working directory or their environment.
test_processes() {
  local process id
  for process in /proc/[0-9]*; do
    id=${process#/proc/}
    [[ $id != "$$" && $id != "$BASHPID" ]] || continue
    if grep -qaF -e "$run" -e "$memory" "$process/cmdline" "$process/environ" 2>/dev/null || [[ $(readlink "$process/cwd" 2>/dev/null) == @("$run"|"$memory")* ]]; then echo "$id"; fi
  done
}

clean_up() {
  trap '' INT TERM
  trap - EXIT
  local lane ids
  for lane in $(jobs -p); do
    kill -KILL "$lane" 2>/dev/null || true
    wait "$lane" 2>/dev/null || true
  done
  while ids=$(test_processes) && [[ -n $ids ]]; do
    # shellcheck disable=SC2086
    kill -KILL $ids 2>/dev/null || true
    sleep 0.2
  done
  awk -v run="$run/" -v memory="$memory/" 'index($2, run) == 1 || index($2, memory) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r umount --lazy
  rm -rf "$run" "$memory"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

wanted() { [[ " ${projects[*]} " == *" $1 "* ]]; }

# The short run of the program that breaks a cluster counts as one test: it passes if no promise was broken.
run_tests() {
  # Profiles for the optimizer take a fifth of the processor time of programs that end soon.
  local -x TMPDIR=$run INSTANCES_TEST_GUEST=$PWD/$guest DOTNET_TieredPGO=0
  if [[ $1 == Chaos ]]; then
    timeout --kill-after=30 "$project_bound" dotnet tests/Chaos/bin/Release/net10.0/Instances.Chaos.dll --seconds 30 --seed 1
  else
    timeout --kill-after=30 "$project_bound" dotnet "tests/$1/bin/Release/net10.0/Instances.$1.Tests.dll" -noColor "${options[@]}"
  fi
}

test_alone() {
  local project status began
  for project in "$@"; do
    wanted "$project" || continue
    say "Testing $project"
    status=0 began=$SECONDS
    run_tests "$project" 2>&1 | tee "$results/$project.log" || status=$?
    echo "$status" >"$results/$project.status"
    echo "$project took $((SECONDS - began)) s"
  done
}

# The output of each project is shown when the project has ended.
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
test_beside_others Silo GrainInterfaces &
test_beside_others Grains &
test_beside_others HostileImages ApiGateway &
wait
# In the background: a shell that waits for a program in the foreground sees Ctrl-C only after the program's end.
test_alone EndToEnd Chaos &
wait

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

printf '\nAll of it took %d s.\n' "$SECONDS"
if ((skipped)); then printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"; else printf '%d passed, %d failed\n' "$passed" "$failed"; fi
((failed == 0 && passed > 0))
