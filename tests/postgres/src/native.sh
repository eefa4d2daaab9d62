# usage: native.sh <folder of the binaries> <port>...; `watchdog.rs` says what it does and when it
# ends. Each port is tried in turn.
binaries=$1
shift

# The input is kept for the last line alone; messages of the shell are part of the reason.
exec 3<&0 </dev/null 2>&1
# TMPDIR may be the folder of another user, if this runs as `postgres` for root.
[ -n "$TMPDIR" ] && [ -w "$TMPDIR" ] && [ -x "$TMPDIR" ] || TMPDIR=/tmp
folder=$(mktemp -d "$TMPDIR/test-postgres.XXXXXX") || exit 1

stop() {
    "$binaries/pg_ctl" stop -D "$folder/data" -m immediate >/dev/null 2>&1
    rm -rf "$folder"
}
# When the test process dies during the start, printing must not end the script before its trap.
trap '' PIPE
trap 'exit 1' HUP INT TERM
trap stop EXIT

fail() {
    printf '%s\n' "$1"
    tail -n 20 "$folder/log"
    exit 1
}

printf '%s\n' "$POSTGRES_PASSWORD" >"$folder/password"
"$binaries/initdb" -D "$folder/data" -U postgres --auth=password --pwfile="$folder/password" \
    --encoding=UTF8 --locale=C --no-sync >"$folder/log" 2>&1 ||
    fail "$binaries/initdb failed:"
: >"$folder/log"

cat >>"$folder/data/postgresql.conf" <<SETTINGS
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 300
fsync = off
synchronous_commit = off
full_page_writes = off
SETTINGS

for port in "$@"; do
    # The server keeps the files open that it is given, so none of them may be the test's output.
    if "$binaries/pg_ctl" start -D "$folder/data" -l "$folder/log" -w -t 60 -o "-p $port" \
        >/dev/null 2>&1; then
        printf 'ready %s\n' "$port"
        # A line asks for a crash and a new start; the end of the input, for the end.
        while read -r _ <&3; do
            "$binaries/pg_ctl" stop -D "$folder/data" -m immediate >/dev/null 2>&1
            "$binaries/pg_ctl" start -D "$folder/data" -l "$folder/log" -w -t 60 -o "-p $port" \
                >/dev/null 2>&1
        done
        exit
    fi
    # Only another server on the port is a reason to try the next one.
    grep -q 'could not create any TCP/IP sockets' "$folder/log" || break
done
fail "$binaries/postgres does not start:"
