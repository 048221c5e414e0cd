#!/usr/bin/env bash
# Sends `hello` to mongod and checks its reply: mongodb-probe.sh alive|member
#
#   alive    mongod answers
#   member   mongod is the primary or a secondary of its replica set
#
# Uses only bash, over one connection, and waits at most 3 s for each part of the reply; the time-out of the probe bounds
# the whole. It connects to the pod's address, not to the loopback: the mongod that the image's entrypoint starts to create
# the root user listens on the loopback only.
set -euo pipefail
export LC_ALL=C

readonly what=${1:?usage: mongodb-probe.sh alive|member} port=${MONGODB_PORT:-27017}
readonly answer_secs_max=3

exec 3<>"/dev/tcp/$HOSTNAME/$port"
# OP_MSG { hello: 1, $db: "admin" }: length 52, request 1, response to 0, opcode 2013, no flags, one section of kind 0.
# shellcheck disable=SC2016 # $db is the name of a field
printf '\x34\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0\x1f\0\0\0\x10hello\0\x01\0\0\0\x02$db\0\x06\0\0\0admin\0\0' >&3

# Reads the pieces between zero bytes: a boolean field is its type's byte, its name, a zero byte, and its value's byte.
deadline=$((SECONDS + answer_secs_max))
in_set=no
value_of=
while IFS= read -r -d '' -t "$answer_secs_max" piece <&3 && ((SECONDS <= deadline)); do
    [[ $what == member ]] || exit 0
    if [[ -n $value_of && $piece == $'\x01'* && $in_set == yes ]]; then
        exit 0
    fi
    value_of=
    case $piece in
        *$'\x02setName') in_set=yes ;;
        *$'\x08isWritablePrimary' | *$'\x08secondary') value_of=$piece ;;
    esac
done
echo "mongodb-probe: check $what failed: another reply, or no reply within $answer_secs_max s" >&2
exit 1
