#!/usr/bin/env bash
# Upgrades a running datacenter from an older release, silo by silo, while it works, and looks whether anything was lost. Needs PostgreSQL's programs, curl and jq; not part of test.sh.
#   tests/rolling-upgrade.sh [COMMIT]     COMMIT: the older release; c511a55 if left out. KEEP=1 keeps the data folder and the logs.
set -euo pipefail
cd "$(dirname "$0")/.."
source silo/setup.sh
source silo/cluster.sh
old_commit=${1:-c511a55}
work=$(mktemp -d /tmp/instances-upgrade-XXXXXX)
chmod 755 "$work"
old_tree=$work/old
base=${BASE_PORT:-21500}

finish() {
  local status=$?
  trap - EXIT INT TERM
  stop_cluster
  git worktree remove --force "$old_tree" 2>/dev/null || true
  if ((status == 0)) && [[ -z ${KEEP:-} ]]; then rm -rf "$work"; else echo "Data and logs: $work"; fi
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

say "Building $old_commit and this tree"
git worktree add --quiet --detach "$old_tree" "$old_commit"
for tree in "$old_tree" .; do
  dotnet build --nologo -v quiet -c Release "$tree/silo/Instances.Silo.csproj" >/dev/null
  dotnet build --nologo -v quiet -c Release "$tree/api-gateway/server/Instances.ApiGateway.csproj" >/dev/null
done

declare -A process
# start TREE NAME NUMBER ROLES: a silo with ports of its own. A silo that takes the place of an older one has its name, and so its data.
start() {
  local log=$work/$2.log port=$((base + 3 * $3))
  dotnet "$1/silo/bin/Release/net10.0/Instances.Silo.dll" --data "$work/$2" --port "$port" --Host:Name="$2" --Silo:Port=$((port + 1)) --Silo:ClientPort=$((port + 2)) --Silo:Roles="$4" \
    --Host:Hypervisor=simulated --Library:Folder="$work/library" --Library:GracePeriod=00:00:00 >>"$log" 2>&1 &
  process[$2]=$!
  cluster_processes+=($!)
  wait_ready "http://127.0.0.1:$port" $! "$log"
}

stop() {
  kill -TERM "${process[$1]}"
  wait "${process[$1]}" || true
}

sql() { (cd / && PGPASSWORD=$(cat "$work/postgresql/password") "$(postgresql_program psql)" -h 127.0.0.1 -p "$base" -U instances -d postgres -At -c "$1"); }

# ask METHOD PATH [JSON], through a gateway that is chosen by GATEWAY. Repeated while a silo ends.
ask() {
  local answer
  for _ in $(seq 60); do
    if answer=$(curl -sS --fail-with-body -X "$1" -H 'Content-Type: application/json' ${3:+-d "$3"} "$gateway/api/v1/datacenters/local/$2" 2>&1); then
      printf '%s' "$answer"
      return 0
    fi
    case $answer in *'"status":503'* | *'"status":504'* | *'curl: ('*7*) sleep 1 ;; *) break ;; esac
  done
  fail "$1 $2: $answer"
}

# done_of OPERATION: waits for its end, which has to be a good one.
done_of() {
  local id status
  id=$(jq -r .id <<<"$1")
  for _ in $(seq 300); do
    status=$(ask GET "operations/$id" | jq -r .status)
    case $status in
      succeeded) return 0 ;;
      failed | cancelled) fail "The operation $id is $status: $(ask GET "operations/$id")" ;;
    esac
    sleep 0.3
  done
  fail "The operation $id is still $status: $(ask GET "operations/$id")"
}

start_postgresql "$work/postgresql" "$base"
qemu-img create -q -f qcow2 "$work/disk.qcow2" 16M

say "The older release: control with library, two hosts, a gateway"
start "$old_tree" control-1 1 Control,Library
start "$old_tree" host-1 2 Host
start "$old_tree" host-2 3 Host
start_gateway "http://127.0.0.1:$((base + 30))" "$work/gateway-1.log" $((base + 5)) $((base + 8)) $((base + 11)) $((base + 14))
gateway=http://127.0.0.1:$((base + 30))
wait_ready "$gateway" "${cluster_processes[-1]}" "$work/gateway-1.log"
(
  cd "$old_tree"
  exec env -u Storage__ConnectionString -u Storage__Provider dotnet api-gateway/server/bin/Release/net10.0/Instances.ApiGateway.dll --urls "http://127.0.0.1:$((base + 31))" \
    --Datacenters:local:Gateways:0=127.0.0.1:$((base + 5)) --Datacenters:local:Gateways:1=127.0.0.1:$((base + 14)) >>"$work/gateway-old.log" 2>&1
) &
cluster_processes+=($!)
wait_ready "http://127.0.0.1:$((base + 31))" $! "$work/gateway-old.log"
gateways=("http://127.0.0.1:$((base + 31))" "http://127.0.0.1:$((base + 30))")
gateway=${gateways[0]}

import=$(curl -sS --fail-with-body -X POST --data-binary "@$work/disk.qcow2" -H 'Content-Type: application/octet-stream' "$gateway/api/v1/datacenters/local/images?name=disk")
done_of "$import"
image=$(ask GET "operations/$(jq -r .id <<<"$import")" | jq -r .image)
appliances=()
for number in 1 2 3; do
  appliance=$(ask POST appliances "{\"name\":\"shop-$number\",\"description\":\"before\"}" | jq -r .id)
  appliances+=("$appliance")
  for machine in web db; do ask POST "appliances/$appliance/virtual-machines" "{\"name\":\"$machine\",\"image\":\"$image\",\"memoryBytes\":67108864}" >/dev/null; done
  done_of "$(ask POST "appliances/$appliance/deploy")"
done

captures=0
# One round: every appliance is changed, captured and deployed again, through both gateways in turn.
work_round() {
  local appliance
  for appliance in "${appliances[@]}"; do
    gateway=${gateways[$((captures % ${#gateways[@]}))]}
    ask PATCH "appliances/$appliance" "{\"description\":\"$1\"}" >/dev/null
    done_of "$(ask POST "appliances/$appliance/instances" '{"virtualMachines":"all","undeploy":false}')"
    captures=$((captures + 2))
    done_of "$(ask POST "appliances/$appliance/undeploy")"
    done_of "$(ask POST "appliances/$appliance/deploy")"
  done
}

# Everything that was made is there, and in order.
check() {
  local appliance ready
  ready=$(ask GET 'images?kind=slave&limit=500' | jq '[.items[] | select(.status == "ready")] | length')
  ((ready == captures)) || fail "$1: $ready instances are ready, and $captures were captured."
  for appliance in "${appliances[@]}"; do
    [[ $(ask GET "appliances/$appliance" | jq -r '.status + " " + .description') == "deployed $2" ]] || fail "$1: $(ask GET "appliances/$appliance")"
    [[ $(ask GET "appliances/$appliance/virtual-machines" | jq -r '[.items[].status] | unique | join(" ")') == running ]] || fail "$1: $(ask GET "appliances/$appliance/virtual-machines")"
  done
  say "$1: $captures instances, all appliances deployed"
}

work_round old
check "Older release" old

say "A control silo of this release beside the older one"
start . control-2 4 Control
work_round mixed
check "Both releases" mixed

say "Hosts, one after the other, then the control silo with the library"
stop host-1
start . host-1 2 Host
work_round host-1
stop host-2
start . host-2 3 Host
work_round host-2
check "Hosts of this release" host-2
stop control-1
start . control-1 1 Control,Library
work_round new
check "This release" new

say "What a release to come adds to the records stays in them"
sql "UPDATE orleansstorage SET payloadbinary = convert_to((convert_from(payloadbinary, 'UTF8')::jsonb || '{\"fromTheFuture\":{\"a\":1}}')::text, 'UTF8') WHERE graintypestring ~ 'appliance|virtual-machine|image'" >/dev/null
for name in control-1 control-2; do stop $name; start . $name $([[ $name == control-1 ]] && echo 1 Control,Library || echo 4 Control); done
before=$(sql "SELECT count(*) FROM orleansstorage WHERE convert_from(payloadbinary, 'UTF8')::jsonb ? 'fromTheFuture' AND graintypestring ~ 'appliance|virtual-machine'")
work_round future
after=$(sql "SELECT count(*) FROM orleansstorage WHERE convert_from(payloadbinary, 'UTF8')::jsonb ? 'fromTheFuture' AND graintypestring ~ 'appliance|virtual-machine'")
((before >= 9 && before == after)) || fail "$before records had a member of a release to come, and $after have it still."
check "Members of a release to come" future

say "A database that needs a later release is refused"
stop control-2
sql "UPDATE database_fact SET value = '9999' WHERE name = 'oldest-migration'" >/dev/null
if refusal=$(timeout 60 dotnet silo/bin/Release/net10.0/Instances.Silo.dll --data "$work/control-2" --port $((base + 12)) --Silo:Roles=Control 2>&1); then fail "It started."; fi
grep -q 'needs a release that has the migration 9999' <<<"$refusal" || fail "It says: $refusal"

gateway=${gateways[1]}
findings=$(ask GET doctor | jq -c '[.findings[] | select(.severity != "info")]')
[[ $findings == '[]' ]] || fail "The doctor finds: $findings"
say "Nothing was lost"
