# Shell functions of run.sh --cluster: a PostgreSQL, silos and gateways as processes of their own, all on this machine and on its loopback address. Sourced after setup.sh.

# Every process that was started, in order: ended in the reverse order.
cluster_processes=()
postgresql_data=

postgresql_program() { compgen -G "/usr/lib/postgresql/*/bin/$1" | sort -V | tail -n 1; }

# PostgreSQL refuses to run as root.
as_postgres() { if ((EUID == 0)); then setpriv --reuid=postgres --regid=postgres --init-groups "$@"; else "$@"; fi; }

require_free() {
  local port
  for port in "$@"; do
    if (exec 4<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then fail "Port $port is taken: choose others with --port N."; fi
  done
}

# A database only for this data folder. Its password is in a file that only this user can read.
start_postgresql() {
  local folder port=$2
  mkdir -p "$1"
  # PostgreSQL's programs run in another folder than this one.
  folder=$(realpath "$1")
  postgresql_data=$folder/data
  if ((EUID == 0)); then
    chown postgres "$folder"
    local above=$folder
    while [[ $above != / ]]; do
      above=$(dirname "$above")
      as_postgres test -x "$above" || fail "PostgreSQL runs as the user postgres, who cannot pass through $above: choose another folder with --data DIR."
    done
  fi
  if [[ ! -e $postgresql_data/PG_VERSION ]]; then
    say "Making a PostgreSQL database in $folder"
    (umask 077 && head -c 24 /dev/urandom | base64 | tr -d '+/=' >"$folder/password")
    if ((EUID == 0)); then chown postgres "$folder/password"; fi
    (cd / && as_postgres "$(postgresql_program initdb)" --pgdata "$folder/data" --username=instances --pwfile="$folder/password" --auth=scram-sha-256 --encoding=UTF8 --locale=C >/dev/null)
  fi
  (cd / && as_postgres "$(postgresql_program pg_ctl)" start --silent --wait --pgdata "$folder/data" --log "$folder/log" \
    --options "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories=") || fail "PostgreSQL did not start: see $folder/log."
  export Storage__Provider=PostgreSql
  Storage__ConnectionString="Host=127.0.0.1;Port=$port;Database=postgres;Username=instances;Password=$(cat "$folder/password")"
  export Storage__ConnectionString
}

stop_postgresql() {
  [[ -n $postgresql_data ]] || return 0
  (cd / && as_postgres "$(postgresql_program pg_ctl)" stop --silent --mode=fast --pgdata "$postgresql_data") || true
}

# Hosts on one machine need separate ranges of users for their virtual machines.
readonly first_uid=70000 uids=1000

# start_silo NAME DATA HTTP-PORT SILO-PORT CLIENT-PORT ROLES
start_silo() {
  local name=$1 folder=$2 http=$3
  mkdir -p "$folder"
  dotnet silo/bin/Release/net10.0/Instances.Silo.dll --data "$folder" --port "$http" --Host:Name="$name" \
    --Silo:Port="$4" --Silo:ClientPort="$5" --Silo:Roles="$6" \
    --Qemu:FirstUid=$((first_uid + uids * ${#cluster_processes[@]})) --Qemu:Uids="$uids" --Library:GracePeriod=00:00:00 >>"$folder/silo.log" 2>&1 &
  cluster_processes+=($!)
}

# start_gateway URL LOG CLIENT-PORT...
start_gateway() {
  local url=$1 log=$2 index=0 gateways=() port
  shift 2
  for port in "$@"; do gateways+=("--Datacenters:local:Gateways:$((index++))=127.0.0.1:$port"); done
  env -u Storage__ConnectionString -u Storage__Provider \
    dotnet api-gateway/server/bin/Release/net10.0/Instances.ApiGateway.dll --urls "$url" "${gateways[@]}" >>"$log" 2>&1 &
  cluster_processes+=($!)
}

# wait_ready URL PROCESS LOG
wait_ready() {
  until curl --silent --fail --output /dev/null "$1/readyz"; do
    kill -0 "$2" 2>/dev/null || { tail -n 20 "$3" >&2; fail "$1 ended before it was ready; the log above says why."; }
    sleep 0.1
  done
}

# One after the other in reverse order: gateways, then hosts, then control, which the others need until they end.
stop_cluster() {
  local index
  for ((index = ${#cluster_processes[@]} - 1; index >= 0; index--)); do
    kill -TERM "${cluster_processes[index]}" 2>/dev/null || true
    wait "${cluster_processes[index]}" 2>/dev/null || true
  done
  stop_postgresql
}
