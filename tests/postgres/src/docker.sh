# usage: docker.sh <image>; `watchdog.rs` says what it does and when it ends.
image=$1
name=test-postgres-$$-$(od -An -N4 -tx4 /dev/urandom | tr -d ' ')

# The input is kept for the last line alone; messages of the shell are part of the reason.
exec 3<&0 </dev/null 2>&1
# When the test process dies during the start, printing must not end the script before its trap.
trap '' PIPE
trap 'exit 1' HUP INT TERM
trap 'docker rm -f -v "$name" >/dev/null 2>&1' EXIT

fail() {
    printf '%s\n' "$1"
    exit 1
}

docker image inspect "$image" >/dev/null 2>&1 ||
    error=$(docker pull -q "$image" 2>&1) ||
    fail "the image $image is neither here nor can it be pulled: $error"

error=$(docker run -d --name "$name" -p 127.0.0.1::5432 \
    -e POSTGRES_PASSWORD -e POSTGRES_HOST_AUTH_METHOD=password "$image" postgres \
    -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=300 2>&1) ||
    fail "the container cannot be run: $error"

# By TCP within the container: the image prepares the data with a server that has a socket only,
# and the port outside accepts connections before there is any server.
tries=0
until docker exec "$name" pg_isready -q -h 127.0.0.1 >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ "$tries" -ge 200 ] || [ "$(docker inspect -f '{{.State.Running}}' "$name")" != true ]; then
        fail "the container does not come up: $(docker logs --tail 20 "$name" 2>&1)"
    fi
    sleep 0.2
done

address=$(docker port "$name" 5432/tcp 2>&1) || fail "the container has no port: $address"
printf 'ready %s\n' "${address##*:}"
read -r _ <&3
