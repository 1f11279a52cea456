# A real systemd in a container of systemd-nspawn, without a network, for scripts that
# try neko under one (systemd/try, packages/try): they read this file, as root. It
# needs debootstrap and systemd-container, and keeps root file systems in the user's
# cache folder.
# shellcheck shell=sh

here=$(cd "$(dirname "$0")/../.." && pwd) # the repository
root=$(mktemp -d)                         # of the container
pid='' nspawn='' failed=0

cleanup() {
	[ -z "$pid" ] || { kill -s RTMIN+4 "$pid" 2> /dev/null || true; sleep 3; kill -9 "$nspawn" "$pid" 2> /dev/null || true; }
	wait 2> /dev/null || true
	rm -rf "$root"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# root_from NAME RELEASE PACKAGES: the root is a Debian of that release with those
# packages, kept under that name, and has loadclient in it.
root_from() {
	cache=${XDG_CACHE_HOME:-$HOME/.cache}/neko-systemd/$1
	[ -d "$cache/usr" ] || {
		rm -rf "$cache.new"
		mkdir -p "$cache.new"
		debootstrap --variant=minbase --include="$3" "$2" "$cache.new" >&2
		rm -rf "$cache"
		mv "$cache.new" "$cache"
	}
	cp -a "$cache/." "$root"
	CGO_ENABLED=0 go build -C "$here" -o "$root/usr/bin/loadclient" ./scripts/loadclient
	echo neko-test > "$root/etc/hostname"
}

inside() { nsenter -t "$pid" -m -u -i -n -p -C --root --wd=/ env -i -C / PATH=/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin LANG=C sh -c "$1"; }

until_true() { # WHAT COMMAND: it must come true within a minute
	for _ in $(seq 300); do
		if inside "$2" > "$root/last" 2>&1; then
			printf '%-62s ok\n' "$1"
			return
		fi
		sleep 0.2
	done
	printf '%-62s FAILED\n' "$1"
	cat "$root/last"
	inside 'journalctl -q --no-pager -n 30 || tail -n 30 /var/lib/neko/neko.log' || true
	failed=1
}

must() { # WHAT COMMAND
	if inside "$2" > "$root/last" 2>&1; then
		printf '%-62s ok\n' "$1"
	else
		printf '%-62s FAILED\n' "$1"
		cat "$root/last"
		inside 'journalctl -q --no-pager -n 25 -u neko -u neko.socket -u neko-api 2> /dev/null' || true
		failed=1
	fi
}

boot() { # starts the container, until its systemd has started all that it is to start
	SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn -q -D "$root" --boot --keep-unit --register=no --link-journal=no \
		--console=pipe --resolv-conf=off --timezone=off --private-network >> "$root/console" 2>&1 < /dev/null &
	nspawn=$!
	for _ in $(seq 150); do
		pid=$(pgrep -P "$nspawn" -f systemd | head -n 1 || true)
		[ -n "$pid" ] && inside 'systemctl is-system-running | grep -E "running|degraded"' > /dev/null 2>&1 && return
		sleep 0.2
	done
	echo 'error: the container does not boot' >&2
	tail -n 20 "$root/console" >&2
	return 1
}

reboot() { # with --keep-unit systemd-nspawn ends at a reboot, with 133
	inside 'systemctl reboot' || true
	wait "$nspawn" && status=0 || status=$?
	pid=
	[ "$status" = 133 ] || { echo "error: the container was to reboot, and ended with $status" >&2; exit 1; }
	boot
}
