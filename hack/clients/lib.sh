# Read by each client's script, in the box. A client is
#   setup            starts daemons, imports the image; its failure fails the client
#   clean            removes what a feature may have left, if need be by force, and then fails; after each one
#   feature_NAME...  one feature each, in the order of the file, each in a process of its own that `timeout` bounds
#   excuse LINE        optional: whether the client's own log says, from that line on, that it lost what was to be seen; a feature
#                      that failed is then tried once more
#   version            prints the client's, on one line
# and ends with `main "$@"`. A feature passes when it returns; anything that fails in it fails it (errexit holds).
# What it uses:
#   ok COMMAND...             runs it; its status must be 0
#   want STATUS COMMAND...    … must be STATUS
#   is TEXT, has TEXT, lacks TEXT     about what the last command printed (stdout)
#   says TEXT                         … about what it complained (stderr)
#   until_true COMMAND...     repeats for a minute, with nothing printed
#   until_traps PID SIGNAL    until that process has a handler for that signal
#   fail WHY, skip REASON     end the feature
set -Eeuo pipefail
shopt -s inherit_errexit extglob

clients=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# The configuration that users are shown.
examples=$(cd "$clients/../../docs/examples" && pwd)
client=$(basename "$0")
scratch=/tmp/scratch   # a feature's own directory, empty when it begins
image=/tmp/image       # what `image` made
limit=180              # seconds for a feature, on a machine with other work: no feature needs them all
status=0 out='' err=''

fail() { echo "WHY $*" >&9; exit 1; }
skip() { echo "SKIP $*" >&9; exit 77; }

want() {
	local wanted=$1
	shift
	echo "\$ $*"
	status=0
	# Into files, not a pipe: what the command leaves running may hold its outputs open.
	"$@" >/tmp/stdout 2>/tmp/stderr || status=$?
	out=$(tr -d '\0' </tmp/stdout) err=$(tr -d '\0' </tmp/stderr)
	printf '%s' "${out:+$out$'\n'}" "${err:+$err$'\n'}"
	[ "$wanted" = any ] || [ "$status" = "$wanted" ] ||
		fail "$*: exit status $status, wanted $wanted: $(tail -n 1 <<<"${err:-$out}")"
}
ok() { want 0 "$@"; }
is() { [ "$out" = "$1" ] || fail "printed '$out', wanted '$1'"; }
has() { case $out in *"$1"*) ;; *) fail "printed '$(tail -n 3 <<<"$out")', wanted '$1' in it" ;; esac; }
lacks() { case $out in *"$1"*) fail "printed '$1'" ;; esac; }
says() { case $err in *"$1"*) ;; *) fail "complained '$(tail -n 3 <<<"$err")', wanted '$1' in it" ;; esac; }
until_true() {
	local end=$((SECONDS + 60))
	until "$@" >/tmp/until 2>&1; do
		[ $SECONDS -lt $end ] || fail "not within a minute: $*: $(tail -n 1 /tmp/until)"
		sleep 0.05
	done
}

traps() { [ $((0x$(awk '/^SigCgt/ {print $2}' "/proc/$1/status") >> ($(kill -l "$2") - 1) & 1)) = 1 ]; }
until_traps() { until_true traps "$@"; }

# The file of a limit in a container's cgroup, by the pid of its first process: cgroup_file PID CONTROLLER FILE
cgroup_file() {
	local path
	path=$(awk -F: -v c="$2" '{ n = split($2, list, ","); for (i = 1; i <= n; i++) if (list[i] == c) print $3 }' "/proc/$1/cgroup")
	[ -n "$path" ] || fail "process $1 is in no cgroup of $2"
	cat "/sys/fs/cgroup/$2$path/$3"
}

# Of runc's directories in the hierarchies, what a container would leave: any cgroup below the box's root but NAMES.
cgroups_but() {
	find /sys/fs/cgroup -mindepth 2 -type d -printf '%P\n' | grep -vE "^[^/]+/($(paste -sd'|' <<<"$(printf '%s\n' "$@")"))\$" || true
}

# What a feature has mounted there goes too.
empty_scratch() {
	local at
	while at=$(awk -v s="$scratch" 'index($2, s) == 1 { at = $2 } END { print at }' /proc/self/mounts) && [ -n "$at" ]; do umount --lazy "$at"; done
	rm -rf "$scratch"
	mkdir -m 755 "$scratch"
}

excuse() { false; }
daemons_log=/dev/null

names() { sed -n 's/^feature_\([a-z0-9_]*\)().*/\1/p' "$0"; }

main() {
	if [ "${1:-}" = --names ]; then
		names
		exit
	fi
	if [ "${1:-}" = --feature ]; then
		# Clients inherit this one too, and pass it on to the runtime: it must not get into a container.
		exec 9>&2
		trap 'echo "WHY line $LINENO: $BASH_COMMAND: status $?" >&9' ERR
		cd "$scratch"
		"feature_$2"
		exit 0
	fi

	# One line a feature, told to `run`: `ok NAME`, `not ok NAME: why`, `skip NAME: reason`; `end` when all were done.
	local name log began result why from
	mkdir -p "/out/$client"
	if ! (exec 9>&2; "$clients/image" "$image"; setup) >"/out/$client/setup.log" 2>&1 </dev/null; then
		echo "not ok setup: $(grep -v '^$' "/out/$client/setup.log" | tail -n 1)"
		exit 1
	fi
	version 2>/dev/null | grep -oE '[0-9]+\.[0-9]+\.[0-9]+' | head -n 1 >/out/version || true
	for name in $(names); do
		# shellcheck disable=SC2053  # a pattern is what the user gave
		[[ $name == @($ONLY) ]] || continue
		log=/out/$client/$name.log
		empty_scratch
		began=$EPOCHREALTIME result=0 from=$(wc -l 2>/dev/null <"$daemons_log" || echo 0)
		timeout --kill-after=2 "$limit" "$0" --feature "$name" >"$log" 2>&1 </dev/null || result=$?
		if [ $result = 1 ] && excuse $((from + 1)); then
			mv "$log" "$log.first"
			timeout --kill-after=2 "$limit" "$0" --clean >>"$log.first" 2>&1 </dev/null || true
			empty_scratch
			result=0
			timeout --kill-after=2 "$limit" "$0" --feature "$name" >"$log" 2>&1 </dev/null || result=$?
		fi
		printf 'took %s s\n' "$(awk "BEGIN { printf \"%.2f\", $EPOCHREALTIME - $began }")" >>"$log"
		# The first reason is the innermost one.
		why=$(sed -n 's/^WHY //p;s/^SKIP //p' "$log" | head -n 1)
		# A runtime that cannot kill or delete must not spoil the features that follow: `clean` is allowed force, but
		# a feature that otherwise passed says so.
		timeout --kill-after=2 "$limit" "$0" --clean >>"$log" 2>&1 </dev/null || {
			[ "$result" != 0 ] || result=1 why="what it left cannot be cleaned up: $(tail -n 1 "$log")"
		}
		case $result in
		0) echo "ok $name" ;;
		77) echo "skip $name: $why" ;;
		124 | 137) echo "not ok $name: not done within $limit s${why:+: $why}" ;;
		*) echo "not ok $name: ${why:-exit status $result}" ;;
		esac
	done
	echo end
}
if [ "${1:-}" = --clean ]; then
	trap 'clean' EXIT # once the whole script is read
	main() { :; }
fi
