# shellcheck shell=bash
# What every script needs of the machine: packages, private servers, free ports. Sourced, never run.

# Runs a command as root: directly, or through sudo for an ordinary user.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@" || sudo "$@"; fi
}

# Installs those of the named Debian packages that are missing.
ensure_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    echo "installing ${missing[*]}" >&2
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq >/dev/null
    # Debian starts servers when they are installed; ours are started by these scripts alone.
    local policy=/usr/sbin/policy-rc.d made_policy=
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
        made_policy=1
    fi
    local status=0
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null || status=$?
    [ -n "$made_policy" ] && as_root rm -f "$policy"
    return "$status"
}

# shellcheck disable=SC2034
build_packages=(libcurl4-openssl-dev libhiredis-dev libpq-dev libsodium-dev pkg-config)
# shellcheck disable=SC2034
server_packages=(postgresql postgresql-contrib redis-server redis-tools)

# build_project ARGUMENTS…: swift build with the layers' arrows checked. A failed build shows its errors and fails: what
# an earlier build left behind must not be run in its place.
build_project() {
    local log status=0
    log=$(mktemp)
    swift build "$@" --explicit-target-dependency-import-check error >"$log" 2>&1 || status=$?
    if [ "$status" -ne 0 ]; then grep -E 'error' "$log" | sort -u | head -n 40 >&2; else tail -n 1 "$log"; fi
    rm -f "$log"
    return "$status"
}

# As the container images are built: Swift's own runtime goes into the programs, which makes a process smaller by 6 MB of
# pages that a dynamic loader would have to write to.
build_release() { build_project -c release --static-swift-stdlib; }

# The folder of PostgreSQL's programs: the newest version there is.
postgres_bin() {
    local folder
    folder=$(find /usr/lib/postgresql -maxdepth 2 -name bin -type d 2>/dev/null | sort -V | tail -n 1)
    [ -n "$folder" ] || { echo "PostgreSQL is not installed" >&2; return 1; }
    echo "$folder"
}

# Runs a command as somebody whom PostgreSQL serves: it refuses root.
as_postgres_user() {
    if [ "$(id -u)" -eq 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi
}

# A folder that PostgreSQL's user can reach: the given one, or one below /var/tmp when a parent is closed to it.
postgres_folder() {
    local wanted=$1
    mkdir -p "$wanted"
    if [ "$(id -u)" -eq 0 ]; then
        if ! runuser -u postgres -- test -x "$wanted"; then
            wanted=/var/tmp/guanxi-$(printf '%s' "$1" | cksum | cut -d ' ' -f 1)
            mkdir -p "$wanted"
        fi
        chown postgres: "$wanted"
    fi
    chmod 700 "$wanted"
    echo "$wanted"
}

# start_postgres FOLDER PORT PASSWORD-FILE: a private server on 127.0.0.1; prints its process id.
start_postgres() {
    local folder port=$2 password_file=$3 bin
    bin=$(postgres_bin)
    folder=$(postgres_folder "$1")
    if [ ! -e "$folder/data/PG_VERSION" ]; then
        local copy="$folder/password"
        install -m 600 "$password_file" "$copy"
        [ "$(id -u)" -eq 0 ] && chown postgres: "$copy"
        as_postgres_user "$bin/initdb" --pgdata "$folder/data" --username postgres --encoding UTF8 --locale C.UTF-8 \
            --auth scram-sha-256 --pwfile "$copy" >/dev/null
        rm -f "$copy"
    fi
    (
        cd "$folder" || exit 1
        as_postgres_user "$bin/pg_ctl" --pgdata "$folder/data" --log "$folder/log" --wait --timeout 60 start --options "\
-c listen_addresses=127.0.0.1 -c port=$port -c unix_socket_directories='' -c max_connections=600 \
-c shared_buffers=${GUANXI_LOCAL_SHARED_BUFFERS:-512MB} -c max_wal_size=4GB -c checkpoint_timeout=15min \
-c max_locks_per_transaction=256 -c fsync=${GUANXI_LOCAL_FSYNC:-on} -c log_min_messages=warning \
-c log_min_error_statement=panic" >/dev/null
    ) || { tail -n 20 "$folder/log" >&2; return 1; }
    head -n 1 "$folder/data/postmaster.pid"
}

# start_platform FOLDER POSTGRES-PORT REDIS-PORT TENANT: a migrated database and Redis of their own in FOLDER, with a
# tenant, for a program that measures or tests. Wants $binaries; sets server, password, and for the services' processes
# GUANXI_… and GUANXI_KEY, an owner's key. Started services are noted in service_pids.
start_platform() {
    platform=$1
    local postgres_port=$2 redis_port=$3
    service_pids=()
    password=$(random_word)
    (umask 077 && echo "$password" >"$platform/password")
    start_postgres "$platform/postgres" "$postgres_port" "$platform/password" >/dev/null
    start_redis "$platform/redis" "$redis_port" >/dev/null
    server="host=127.0.0.1 port=$postgres_port"
    export PGPASSWORD=$password
    psql -qAt "$server user=postgres dbname=postgres" -c 'create database guanxi'
    export GUANXI_DATABASE_ADMIN_URL="$server dbname=guanxi user=postgres password=$password"
    export GUANXI_DATABASE_OWNER_URL="$server dbname=guanxi user=guanxi_owner password=$password"
    export GUANXI_ROLE_PASSWORD=$password GUANXI_REDIS_URL=redis://127.0.0.1:$redis_port GUANXI_SECRET=$password$password
    : "${binaries:?the folder of the programs}"
    "$binaries/guanxi" migrate >/dev/null
    "$binaries/guanxi" tenants create "$4" --requests-per-second 10000000 --country DE --currency EUR >/dev/null
    GUANXI_KEY=$("$binaries/guanxi" keys create "$4" --roles owner)
    export GUANXI_KEY
}

# start_service SERVICE ROLE HTTP-PORT INTERNAL-PORT: returns when it is ready; its id is the last of service_pids.
start_service() {
    GUANXI_DATABASE_URL="$server dbname=guanxi user=guanxi_$1 password=$password" GUANXI_HTTP_PORT=$3 \
        GUANXI_INTERNAL_PORT=$4 "$binaries/$1" "$2" >"$platform/$1-$2.out" 2>"$platform/$1-$2.log" </dev/null &
    service_pids+=($!)
    until grep -q ^ready "$platform/$1-$2.out"; do
        kill -0 "${service_pids[-1]}" || { tail -n 20 "$platform/$1-$2.log" >&2; return 1; }
        sleep 0.1
    done
}

# stop_services: those of service_pids, in their own time.
stop_services() {
    local pid
    for pid in "${service_pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    for pid in "${service_pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    service_pids=()
}

# stop_platform: what start_platform and start_service started; their folder goes.
stop_platform() {
    stop_services
    # One that was killed left its file; PostgreSQL is to be stopped all the same.
    if [ -e "$platform/redis/pid" ]; then kill -TERM "$(cat "$platform/redis/pid")" 2>/dev/null || true; fi
    stop_postgres "$platform/postgres"
    rm -rf "$platform"
}

# stop_postgres FOLDER
stop_postgres() {
    local folder bin
    folder=$(postgres_folder "$1")
    bin=$(postgres_bin)
    [ -e "$folder/data/postmaster.pid" ] || return 0
    (cd "$folder" && as_postgres_user "$bin/pg_ctl" --pgdata "$folder/data" --mode fast --wait stop >/dev/null) || true
}

# start_redis FOLDER PORT [CONFIGURATION…]: a private server on 127.0.0.1; prints its process id.
start_redis() {
    local folder=$1 port=$2
    shift 2
    mkdir -p "$folder"
    redis-server --port "$port" --bind 127.0.0.1 --dir "$folder" --daemonize yes --pidfile "$folder/pid" \
        --logfile "$folder/log" --appendonly yes --appendfsync everysec --save '' --maxmemory-policy noeviction \
        "$@" >/dev/null
    local try
    for try in $(seq 1 100); do
        if [ "$(redis-cli -p "$port" ping 2>/dev/null)" = PONG ]; then
            cat "$folder/pid"
            return 0
        fi
        sleep 0.1
    done
    echo "Redis did not start after $try attempts:" >&2
    tail -n 20 "$folder/log" >&2
    return 1
}

# render_gateway FOLDER LISTEN CONTACTS OPPORTUNITIES TICKETS ANALYTICS ACCOUNTS: the gateway's configuration, with the
# folder of its own files and all addresses filled in.
render_gateway() {
    sed -e "s|@STATE@|$1|g" -e "s|@GATEWAY@|$2|" -e "s|@CONTACTS@|$3|" -e "s|@OPPORTUNITIES@|$4|" \
        -e "s|@TICKETS@|$5|" -e "s|@ANALYTICS@|$6|" -e "s|@ACCOUNTS@|$7|" deploy/gateway/nginx.conf.template
}

# True when nothing listens on the port.
port_is_free() {
    ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# free_ports COUNT: so many ports that nothing listens on now.
free_ports() {
    local count=$1 port
    while [ "$count" -gt 0 ]; do
        port=$((20000 + (RANDOM * 2 + RANDOM % 2) % 12000))
        port_is_free "$port" || continue
        echo "$port"
        count=$((count - 1))
    done
}

# A random word of 32 characters.
random_word() {
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n' | cut -c 1-32
}

# Prints what a script says of itself at its head.
print_help() { sed -n '2,/^[^#]/s/^#\( \|$\)//p' "$0"; }

# Ends a script that was given what it does not know.
refuse_argument() {
    echo "unknown argument $1; see $0 --help" >&2
    exit 64
}
