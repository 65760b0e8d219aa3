#!/usr/bin/env bash
# Sets up what is missing, starts Instances with its gateway in one process, and runs the main job on real virtual machines.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=silo/setup.sh
source silo/setup.sh

usage() {
  cat <<'EOF'
Usage: ./run.sh [--once] [--data DIR] [--port N] [--json]

Installs what is missing (QEMU and what the guest image is built with), builds Instances, builds a small guest, starts the server, and runs the
main job through its HTTP interface: import, deploy, reset, undeploy, create instance, deploy what was captured. Then serves until Ctrl-C.

  --once      end after the job; exit 0 only if every check held; stop all that was started
  --data DIR  where the database, the layers and the machines are kept (default ./data)
  --port N    TCP port of the HTTP interface on 127.0.0.1 (default 8080)
  --json      print the facts as one JSON object, the last line of the output
  --help      this text

A retired image is deleted at once here, so that you see it go. Configure Library:GracePeriod to keep retired images for a while: the default of
the server itself is 24 hours.
EOF
}

once=false data=./data port=8080 json=false
while (($#)); do
  case $1 in
    --once) once=true ;;
    --json) json=true ;;
    --data | --port)
      (($# > 1)) || fail "$1 needs a value; see ./run.sh --help."
      printf -v "${1#--}" '%s' "$2"
      shift
      ;;
    --help | -h) usage; exit 0 ;;
    *) fail "Unknown option '$1'; see ./run.sh --help." ;;
  esac
  shift
done
[[ $port =~ ^[0-9]+$ ]] && ((port >= 1 && port <= 65535)) || fail "--port is a number from 1 to 65535."
# With --json only the job writes to standard output.
if $json; then exec 3>&1 1>&2; else exec 3>&1; fi

install_missing
say "Building (Release)"
dotnet build --nologo -v quiet -c Release silo/Instances.Silo.csproj
dotnet build --nologo -v quiet -c Release api-gateway/main-job/Instances.MainJob.csproj
build_guest

url=http://127.0.0.1:$port
mkdir -p "$data"
if (exec 4<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then fail "Port $port is taken: choose another with --port N."; fi

log=$data/silo.log
say "Starting the server on $url (log: $log)"
started=$(date +%s%N)
dotnet silo/bin/Release/net10.0/Instances.Silo.dll --data "$data" --port "$port" --Library:GracePeriod=00:00:00 >>"$log" 2>&1 &
server=$!

stop_server() {
  trap - EXIT
  kill -TERM "$server" 2>/dev/null || true
  wait "$server" 2>/dev/null || true
  if $once; then end_machines "$data"; fi
}
trap stop_server EXIT
trap 'exit 130' INT TERM

until curl --silent --fail --output /dev/null "$url/readyz"; do
  kill -0 "$server" 2>/dev/null || { tail -n 20 "$log" >&2; fail "The server ended before it was ready; the log above says why."; }
  sleep 0.05
done
ready=$(awk -v ns=$(($(date +%s%N) - started)) 'BEGIN { printf "%.2f", ns / 1e9 }')
say "Ready after $ready s"

job=(dotnet api-gateway/main-job/bin/Release/net10.0/Instances.MainJob.dll --url "$url" --image "$guest" --ready-seconds "$ready")
if $json; then job+=(--json); fi
status=0
"${job[@]}" >&3 || status=$?

if $once; then exit "$status"; fi
say "Serving on $url (reference: $url/docs). Ctrl-C stops the server; machines that are deployed go on running and are found again by the next ./run.sh."
wait "$server"
