#!/usr/bin/env bash
# Sets up what is missing, starts Instances in one process or as a cluster of them, and runs the main job on real virtual machines.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=silo/setup.sh
source silo/setup.sh
# shellcheck source=silo/cluster.sh
source silo/cluster.sh

usage() {
  cat <<'EOF'
Usage: ./run.sh [--once] [--cluster N] [--data DIR] [--port N] [--json]

Installs what is missing (QEMU and what the guest image is built with), builds Instances, builds a small guest, starts the server, and runs the
main job through its HTTP interface: import, deploy, reset, undeploy, create instance, deploy what was captured. Then serves until Ctrl-C.

  --cluster N run it as a cluster on this machine: a private PostgreSQL, a control silo with the library, N host silos (1 to 20) with data folders
              of their own, and two gateways, over which the job's requests are spread. Takes the ports from the one of --port up to 20 + 3 N further
  --once      end after the job; exit 0 only if every check held; stop all that was started
  --data DIR  where the database, the layers and the machines are kept (default ./data, with --cluster ./data/cluster; for root in a private folder
              such as /root: below /var/lib/instances, since virtual machines run as other users, who cannot pass through the private folder)
  --port N    TCP port of the HTTP interface on 127.0.0.1 (default 8080)
  --json      print the facts as one JSON object, the last line of the output
  --help      this text

A retired image is deleted at once here, so that you see it go. Configure Library:GracePeriod to keep retired images for a while: the default of
the server itself is 24 hours.
EOF
}

# Root's virtual machines run as other users. Those must be able to pass through every folder above the data.
default_data() {
  local folder=$PWD
  if ((EUID == 0)); then
    while [[ $folder != / ]]; do
      if (($(stat -c %a "$folder") % 2 == 0)); then
        printf '/var/lib/instances/%s' "$(printf '%s' "$PWD" | sha256sum | head -c 8)"
        return
      fi
      folder=$(dirname "$folder")
    done
  fi
  printf './data'
}

once=false data= port=8080 json=false cluster=0
while (($#)); do
  case $1 in
    --once) once=true ;;
    --json) json=true ;;
    --data | --port | --cluster)
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
[[ $cluster =~ ^[0-9]+$ ]] && ((cluster <= 20)) || fail "--cluster is a number of hosts from 1 to 20."
if [[ -z $data ]]; then
  data=$(default_data)
  if ((cluster)); then data+=/cluster; fi
fi
# With --json only the job writes to standard output.
if $json; then exec 3>&1 1>&2; else exec 3>&1; fi

install_missing
if ((cluster)); then install_postgresql; fi
say "Building (Release)"
dotnet build --nologo -v quiet -c Release run.slnf
build_guest

mkdir -p "$data"
say "Data: $data"
url=http://127.0.0.1:$port
started=$(date +%s%N)

start_one() {
  require_free "$port"
  local log=$data/silo.log
  say "Starting the server on $url (log: $log)"
  dotnet silo/bin/Release/net10.0/Instances.Silo.dll --data "$data" --port "$port" --Library:GracePeriod=00:00:00 >>"$log" 2>&1 &
  cluster_processes+=($!)
  urls=("$url")
  wait_ready "$url" $! "$log"
}

start_all() {
  local base=$((port + 10)) host clients=() second=http://127.0.0.1:$((port + 1))
  require_free "$port" $((port + 1)) "$base"
  start_postgresql "$data/postgresql" "$base"
  say "Starting a control silo with the library, $cluster hosts and two gateways (logs: $data/*/silo.log, $data/gateway-*.log)"
  # Ports: HTTP (health and data plane), between silos, for gateways.
  require_free $((base + 1)) $((base + 2)) $((base + 3))
  start_silo control "$data/control" $((base + 1)) $((base + 2)) $((base + 3)) Control,Library
  clients+=($((base + 3)))
  for ((host = 1; host <= cluster; host++)); do
    require_free $((base + 1 + 3 * host)) $((base + 2 + 3 * host)) $((base + 3 + 3 * host))
    start_silo "host-$host" "$data/host-$host" $((base + 1 + 3 * host)) $((base + 2 + 3 * host)) $((base + 3 + 3 * host)) Host
    clients+=($((base + 3 + 3 * host)))
  done
  start_gateway "$url" "$data/gateway-1.log" "${clients[@]}"
  start_gateway "$second" "$data/gateway-2.log" "${clients[@]}"
  urls=("$url" "$second")
  for ((host = 0; host <= cluster; host++)); do
    wait_ready "http://127.0.0.1:$((base + 1 + 3 * host))" "${cluster_processes[host]}" "$data/$([[ $host == 0 ]] && echo control || echo "host-$host")/silo.log"
  done
  wait_ready "$url" "${cluster_processes[cluster + 1]}" "$data/gateway-1.log"
  wait_ready "$second" "${cluster_processes[cluster + 2]}" "$data/gateway-2.log"
}

stop_all() {
  trap - EXIT INT TERM
  stop_cluster
  local folder
  if $once; then for folder in "$data" "$data"/host-*; do [[ ! -d $folder ]] || end_machines "$folder"; done; fi
}
trap stop_all EXIT
trap 'exit 130' INT TERM

if ((cluster)); then start_all; else start_one; fi
ready=$(awk -v ns=$(($(date +%s%N) - started)) 'BEGIN { printf "%.2f", ns / 1e9 }')
say "Ready after $ready s"

job=(dotnet api-gateway/main-job/bin/Release/net10.0/Instances.MainJob.dll --image "$guest" --ready-seconds "$ready")
for address in "${urls[@]}"; do job+=(--url "$address"); done
if $json; then job+=(--json); fi
status=0
"${job[@]}" >&3 || status=$?

if $once; then exit "$status"; fi
say "Serving on ${urls[*]} (reference: $url/docs). Ctrl-C stops the server; deployed machines keep running, and the next ./run.sh finds them again."
wait -n "${cluster_processes[@]}"
