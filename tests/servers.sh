# Sourced by tests/run: the servers that steps start, and how all of them are stopped.

readonly target=${CARGO_TARGET_DIR:-$PWD/target}
readonly gateway=$target/debug/records-gateway
readonly tools=$PWD/tests/tools
readonly python=$target/tools/venv/bin
readonly deploy=$target/tools/deploy
scratch=$(mktemp -d)
readonly scratch

die() {
  echo "tests/run: $*" >&2
  exit 1
}

# The build of the tests, so that nothing is built twice.
build_gateway() {
  cargo test --quiet --locked --no-run
  [[ -x $gateway ]] || die "$gateway was not built"
}

# The running gateways by name, and the data of a running PostgreSQL.
declare -A pids=()
postgres_data=''
prometheus_pid=''
nginx_pid=''

# start_gateway NAME ARGUMENT...: starts the program; $url is its address and $pid its process.
start_gateway() {
  local name=$1 out=$scratch/$1.out tries
  shift
  # The output is read before the process may have opened the file.
  : >"$out"
  "$gateway" "$@" >"$out" 2>"$scratch/$name.err" &
  pid=$!
  pids[$name]=$pid
  for ((tries = 0; tries < 300; tries++)); do
    url=$(sed -n '1s/^listening on //p' "$out")
    [[ -z $url ]] || return 0
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  cat "$out" "$scratch/$name.err"
  die "the gateway '$name' did not start"
}

# A gateway with fake vendors and sample records of its own: $sandbox_url, $sandbox_pid.
start_sandbox() {
  build_gateway
  start_gateway sandbox sandbox --bind 127.0.0.1:0
  sandbox_url=$url sandbox_pid=$pid
}

# A gateway in front of the sandbox's vendors that requires $GATEWAY_KEY: $authenticated_url.
start_authenticated() {
  local config=$scratch/authenticated.toml
  python3 "$tools/vendors.py" "$scratch/sandbox.out" "$scratch/authenticated.db" "$GATEWAY_KEY" >"$config"
  start_gateway authenticated serve --config "$config"
  authenticated_url=$url
}

# An empty PostgreSQL: $postgres_url. Its data need not survive, so it does not wait for the disk.
start_postgres() {
  local bin port
  bin=$(dirname "$(find /usr/lib/postgresql -path '*/bin/initdb' | sort -V | tail -n 1)")
  port=$(free_port)
  postgres_data=$(mktemp -d)
  # The server refuses to run as root.
  as_postgres=()
  if ((EUID == 0)); then
    as_postgres=(runuser -u postgres --)
    chown postgres "$postgres_data"
  fi
  pg_ctl=("${as_postgres[@]}" "$bin/pg_ctl" --pgdata "$postgres_data/db")
  (
    cd "$postgres_data"
    "${as_postgres[@]}" "$bin/initdb" --pgdata db --username postgres --auth trust --encoding UTF8 --no-locale --no-sync
    "${pg_ctl[@]}" --log "$postgres_data/log" --wait start --options \
      "-c listen_addresses=127.0.0.1 -c port=$port -c unix_socket_directories=$postgres_data -c fsync=off -c max_connections=300"
  ) >"$scratch/postgres.log" 2>&1 || { cat "$scratch/postgres.log"; die 'PostgreSQL did not start'; }
  postgres_url=postgres://postgres@127.0.0.1:$port/postgres
}

# A Prometheus that watches this address with the alerts of deploy/: $prometheus_url.
start_prometheus() {
  local port tries
  port=$(free_port)
  sed -e 's/^\( *scrape_interval:\).*/\1 1s/; s/^\( *evaluation_interval:\).*/\1 1s/' -e "s/demo:8080/$1/" \
    -e "s|alerts.yaml|$PWD/deploy/prometheus/alerts.yaml|" deploy/prometheus/demo.yaml >"$scratch/prometheus.yaml"
  prometheus --config.file "$scratch/prometheus.yaml" --storage.tsdb.path "$scratch/prometheus" \
    --web.listen-address "127.0.0.1:$port" >"$scratch/prometheus.log" 2>&1 &
  prometheus_pid=$!
  prometheus_url=http://127.0.0.1:$port
  for ((tries = 0; tries < 300; tries++)); do
    curl --silent --fail --output /dev/null "$prometheus_url/-/ready" && return
    sleep 0.1
  done
  cat "$scratch/prometheus.log"
  die 'Prometheus did not start'
}

stop_prometheus() {
  [[ -n $prometheus_pid ]] || return 0
  kill -TERM "$prometheus_pid" 2>/dev/null || true
  wait "$prometheus_pid" 2>/dev/null || true
  prometheus_pid=''
}

start_nginx() {
  nginx -e stderr -c "$1" -g 'daemon off; master_process off;' >"$scratch/nginx.log" 2>&1 &
  nginx_pid=$!
  sleep 0.5
  kill -0 "$nginx_pid" 2>/dev/null || { cat "$scratch/nginx.log"; die 'nginx did not start'; }
}

stop_nginx() {
  [[ -n $nginx_pid ]] || return 0
  kill -TERM "$nginx_pid" 2>/dev/null || true
  wait "$nginx_pid" 2>/dev/null || true
  nginx_pid=''
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Stops the servers of a step. A gateway must stop by itself, and nothing in it may have panicked.
stop_servers() {
  local name
  stop_prometheus
  stop_nginx
  for name in authenticated keys jwt second sandbox; do
    [[ -z ${pids[$name]:-} ]] || stop_gateway "$name"
  done
  stop_postgres
}

stop_gateway() {
  local name=$1 status=0
  kill -TERM "${pids[$name]}"
  wait "${pids[$name]}" || status=$?
  unset "pids[$name]"
  # 1 = a write was left unfinished, as a queued one may be.
  ((status <= 1)) || { cat "$scratch/$name.err"; die "the gateway '$name' ended with status $status"; }
  ! grep -n 'panicked at' "$scratch/$name.err" || die "the gateway '$name' panicked"
}

stop_postgres() {
  [[ -n $postgres_data ]] || return 0
  (cd "$postgres_data" && "${pg_ctl[@]}" --mode immediate stop) >>"$scratch/postgres.log" 2>&1 || true
  rm -rf "$postgres_data"
  postgres_data=''
}

# After a failure.
kill_servers() {
  local name
  stop_prometheus
  stop_nginx
  for name in "${!pids[@]}"; do
    kill -KILL "${pids[$name]}" 2>/dev/null || true
    wait "${pids[$name]}" 2>/dev/null || true
  done
  stop_postgres
}
