#!/bin/sh
# Installs neko from what lies beside this script; `install.sh --help` says more.
#
# A file that is there already as it should be is not touched, any other is
# replaced by a rename: who runs it meanwhile keeps the old one, and nobody ever
# finds half a file, or none.
set -eu
umask 022

help() {
	cat << 'HELP'
Install nekoctl and neko-api with manual pages, completions, systemd units, the
user neko and a first /etc/neko/neko.yaml: from a checkout after `make build`, or
from an unpacked release. Nothing is fetched. Run again, it changes what has
changed, and nothing else; configuration that is there is never touched.

Usage:
    install.sh [OPTIONS]

Options:
    --prefix DIR   install into DIR/bin, DIR/share, DIR/lib; /usr/local if not given
    --destdir DIR  put all of it below DIR and not below /, as packages are made:
                   no user, no service is touched; $DESTDIR if not given
    --upgrade      have the daemons that run take the new version; no request is lost
    --uninstall    stop the services and remove what was installed; configuration,
                   data and the user stay
    --dry-run      say what would be done, and do nothing
    -q, --quiet    say nothing but errors and hints
    -h, --help     show this

Without root it takes a --prefix of your own: programs, pages and completions, and
nothing of the system.

Exit codes: 0 it is done, 1 it failed, 2 it was called wrongly.

Examples:
    # ./install.sh
    # ./install.sh --upgrade
    $ ./install.sh --prefix ~/.local
    $ scripts/install.sh --destdir /tmp/package --prefix /usr
    # sh /usr/local/lib/neko/install.sh --uninstall
HELP
}

fail() { # MESSAGE [HINT [EXIT-CODE]]
	echo "error: $1" >&2
	[ -z "${2-}" ] || echo "hint: $2" >&2
	exit "${3:-1}"
}
say() { [ -n "$quiet" ] || printf '%s\n' "$1"; }
did() { # WHAT PATH; of forty manual pages the first will do
	case $2 in
	*/man1/nekoctl-*) ;;
	*) say "$(printf '%-10s %s' "$1" "$2")" ;;
	esac
}
hint() { echo "hint: $1" >&2; }

prefix=/usr/local destdir=${DESTDIR-} upgrade='' uninstall='' dry='' quiet=''
while [ $# -gt 0 ]; do
	case $1 in
	--prefix | --destdir)
		[ $# -ge 2 ] || fail "$1 needs a folder" '' 2
		if [ "$1" = --prefix ]; then prefix=$2; else destdir=$2; fi
		shift
		;;
	--prefix=*) prefix=${1#*=} ;;
	--destdir=*) destdir=${1#*=} ;;
	--upgrade) upgrade=1 ;;
	--uninstall) uninstall=1 ;;
	--dry-run) dry=1 ;;
	-q | --quiet) quiet=1 ;;
	-h | --help)
		help
		exit 0
		;;
	*) fail "install.sh knows no $1" 'install.sh --help shows what it knows' 2 ;;
	esac
	shift
done
for dir in "$prefix" ${destdir:+"$destdir"}; do
	case $dir in
	*[[:space:]]* | *'|'* | */../* | */..) fail "a folder like $dir is not for units and makefiles: no spaces, no |, no .." '' 2 ;;
	/*) ;;
	*) fail "$dir is no absolute path" '' 2 ;;
	esac
done
[ "$prefix" = / ] || prefix=${prefix%/}
[ "$prefix" != / ] || fail 'the prefix / is not to be' 'for all in /bin and /usr: --prefix /usr' 2
destdir=${destdir%/}
[ -z "$upgrade" ] || [ -z "$uninstall" ] || fail 'either --upgrade or --uninstall' '' 2
[ -z "$upgrade" ] || [ -z "$destdir" ] || fail 'what is installed below a --destdir does not run, so there is nothing to upgrade' '' 2

# Units outside of a prefix where systemd looks for them have to go to /etc.
case $prefix in
/usr | /usr/local) units=$prefix/lib/systemd/system ;;
*) units=/etc/systemd/system ;;
esac
# And fish looks into a system's other prefixes only where XDG_DATA_DIRS says so.
case $prefix in
/usr) fish=$prefix/share/fish/vendor_completions.d ;;
*) fish=/etc/fish/completions ;;
esac
own=$prefix/lib/neko
doc=$prefix/share/doc/neko
manifest=$destdir$own/manifest
system=1 # whether there is something of the system to be done: units, user, /etc
[ -n "$destdir" ] || [ "$(id -u)" = 0 ] || system='' fish=$prefix/share/fish/vendor_completions.d
running_system= # a system that runs, and not a folder that will be one
[ -z "$system" ] || [ -n "$destdir" ] || running_system=1
systemd= # runs, and is ours to tell
[ -z "$running_system" ] || [ ! -d /run/systemd/system ] || systemd=1

work=$(mktemp -d)
temp=
trap 'rm -rf "$work" ${temp:+"$temp"}' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# What is done is only said, with --dry-run.
unless_dry() { [ -n "$dry" ] || "$@"; }

new=0 replaced=0 same=0 gone=0 units_changed='' program_replaced=''
put() { # MODE SOURCE PATH
	[ -f "$2" ] || fail "$2 is not there" 'the release is not whole: unpack it again'
	echo "$3" >> "$work/manifest"
	to=$destdir$3
	[ ! -d "$to" ] || fail "$to is a folder, and a file is to be there"
	if [ -f "$to" ] && [ ! -h "$to" ] && [ -n "$(find "$to" -prune -perm "$1")" ] && cmp -s "$2" "$to"; then
		same=$((same + 1))
		return
	fi
	if [ -e "$to" ]; then
		did replaced "$3"
		replaced=$((replaced + 1))
		case $3 in */bin/*) program_replaced=1 ;; esac
	else
		did installed "$3"
		new=$((new + 1))
	fi
	case $3 in "$units"/*) units_changed=1 ;; esac
	[ -z "$dry" ] || return 0
	mkdir -p "${to%/*}"
	temp=$to.new.$$
	cp "$2" "$temp"
	chmod "$1" "$temp"
	# A rename may reach the disk before what was written does.
	case $3 in */bin/*) sync "$temp" 2> /dev/null || sync ;; esac
	mv -f "$temp" "$to"
	temp=
}

config() { # MODE SOURCE PATH: only where nothing is
	if [ -e "$destdir$3" ] || [ -h "$destdir$3" ]; then
		did kept "$3"
		return
	fi
	did installed "$3"
	[ -z "$dry" ] || return 0
	mkdir -p "$destdir${3%/*}"
	temp=$destdir$3.new.$$
	(umask 077 && cp "$2" "$temp")
	chmod "$1" "$temp"
	mv -f "$temp" "$destdir$3"
	temp=
}

remove() { # PATH, of the manifest
	case $1 in
	*/../*) fail "the manifest $manifest has $1 in it, which this script has not written" ;;
	"$prefix"/* | /etc/systemd/system/neko* | /etc/fish/completions/nekoctl.fish) ;;
	*) fail "the manifest $manifest has $1 in it, which this script has not written" ;;
	esac
	case $1 in "$units"/*) units_changed=1 ;; esac
	if [ -e "$destdir$1" ] || [ -h "$destdir$1" ]; then
		did removed "$1"
		gone=$((gone + 1))
		unless_dry rm -f "$destdir$1"
	fi
}

told_systemd() { # once, after units have changed
	if [ -n "$systemd" ] && [ -n "$units_changed" ]; then
		say 'told       systemd: daemon-reload'
		unless_dry systemctl daemon-reload
	fi
}

if [ -n "$uninstall" ]; then
	[ -f "$manifest" ] || fail "nothing of this script's is in $destdir$prefix: there is no $manifest" \
		'give the --prefix that it was installed with; a package is removed by apt or dnf'
	[ -z "$systemd" ] || for unit in neko.socket neko.service neko-api.service; do
		# Of a package's units nothing is touched.
		[ "$(systemctl show -p FragmentPath --value "$unit")" = "$units/$unit" ] || continue
		systemctl is-active -q "$unit" || systemctl is-enabled -q "$unit" 2> /dev/null || continue
		say "stopped    $unit"
		unless_dry systemctl -q disable --now "$unit"
	done
	while read -r path; do remove "$path"; done < "$manifest"
	if [ -z "$dry" ]; then
		rm -f "$manifest"
		for dir in "$own" "$doc"; do [ ! -d "$destdir$dir" ] || rmdir "$destdir$dir" || true; done
	fi
	told_systemd
	say "$gone files removed"
	[ -z "$system" ] || hint 'kept are /etc/neko, /var/lib/neko, /var/lib/neko-api and the user neko; to lose them, too: rm -r the folders, userdel neko'
	exit 0
fi

# What is installed: beside this script in a release, above it in a checkout.
here=$(cd "$(dirname "$0")" && pwd)
root=$here
[ -d "$root/configs" ] || root=$(dirname "$here")
for program in nekoctl neko-api; do
	[ -f "$root/bin/$program" ] || fail "there is no $root/bin/$program" 'make build makes it; in a release it is beside install.sh'
done
if [ -z "$system" ]; then
	at=$prefix
	while [ ! -e "$at" ]; do at=$(dirname "$at"); done
	[ -w "$at" ] || fail "$prefix can be written by root only" "sudo $0, or --prefix ${HOME-/home/you}/.local for yourself alone"
fi
# A package for another machine can be made here, but is no use here.
if [ -z "$destdir" ] && ! "$root/bin/nekoctl" version > /dev/null 2>&1; then
	fail "$root/bin/nekoctl does not run here: this machine is $(uname -m)" 'take the release that is for it'
fi
if [ -d "$root/man" ]; then
	man=$root/man completions=$root/completions
else
	man=$work/man completions=$work/completions
	mkdir "$completions"
	"$root/bin/nekoctl" --quiet man "$man"
	for shell in bash zsh fish; do "$root/bin/nekoctl" completion "$shell" > "$completions/nekoctl.$shell"; done
fi
upgrader=$root/scripts/packages/upgrade-running
[ -f "$upgrader" ] || upgrader=$root/upgrade-running

put 755 "$root/bin/nekoctl" "$prefix/bin/nekoctl"
put 755 "$root/bin/neko-api" "$prefix/bin/neko-api"
put 755 "$upgrader" "$own/upgrade-running"
put 755 "$here/install.sh" "$own/install.sh"
for page in "$man"/*.1; do put 644 "$page" "$prefix/share/man/man1/${page##*/}"; done
put 644 "$completions/nekoctl.bash" "$prefix/share/bash-completion/completions/nekoctl"
put 644 "$completions/nekoctl.zsh" "$prefix/share/zsh/site-functions/_nekoctl"
put 644 "$completions/nekoctl.fish" "$fish/nekoctl.fish"
put 644 "$root/configs/neko.example.yaml" "$doc/neko.example.yaml"
put 644 "$root/LICENSE" "$doc/LICENSE"
[ ! -f "$root/THIRD_PARTY_NOTICES" ] || put 644 "$root/THIRD_PARTY_NOTICES" "$doc/THIRD_PARTY_NOTICES"

if [ -n "$system" ]; then
	mkdir "$work/own"
	for file in systemd/neko.service systemd/neko-api.service etc/neko.yaml etc/api.env; do
		sed "s|/usr/bin/neko|$prefix/bin/neko|; s|/usr/share/doc/neko|$doc|" "$root/configs/$file" > "$work/own/${file##*/}"
	done
	put 644 "$work/own/neko.service" "$units/neko.service"
	put 644 "$work/own/neko-api.service" "$units/neko-api.service"
	put 644 "$root/configs/systemd/neko.socket" "$units/neko.socket"
	put 644 "$root/configs/systemd/neko.service.d/50-notify-reload.conf" "$doc/50-notify-reload.conf"
	put 644 "$root/configs/systemd/neko.sysusers" "$prefix/lib/sysusers.d/neko.conf"
	config 644 "$work/own/neko.yaml" /etc/neko/neko.yaml
	config 600 "$work/own/api.env" /etc/neko/api.env # a place for secrets, which systemd reads as root
fi

# What an earlier version had and this one has not.
if [ -f "$manifest" ]; then
	while read -r path; do grep -qxF "$path" "$work/manifest" || remove "$path"; done < "$manifest"
fi
if [ -z "$dry" ] && ! cmp -s "$work/manifest" "$manifest"; then
	temp=$manifest.new.$$
	cp "$work/manifest" "$temp"
	mv -f "$temp" "$manifest"
	temp=
fi

if [ -n "$running_system" ] && ! id neko > /dev/null 2>&1; then
	shell=$(command -v nologin || echo /bin/false)
	if command -v systemd-sysusers > /dev/null; then
		unless_dry systemd-sysusers "$prefix/lib/sysusers.d/neko.conf"
	elif command -v useradd > /dev/null; then
		unless_dry useradd --system --user-group --home-dir /var/lib/neko --shell "$shell" neko
	elif command -v adduser > /dev/null; then # busybox's
		unless_dry adduser -S -D -H -h /var/lib/neko -s "$shell" neko
	else
		fail 'there is nothing here to make the user neko with' 'make it, and run this again'
	fi
	say 'made       the user neko'
fi
told_systemd

say "$new files installed, $replaced replaced, $gone removed, $same as they were${dry:+ (nothing was done: --dry-run)}"
[ -z "$destdir" ] || exit 0

if [ -n "$upgrade" ] && [ -z "$dry" ]; then
	"$own/upgrade-running" || exit 1
elif [ -n "$program_replaced" ] && [ -z "$dry" ] && running=$("$own/upgrade-running" --dry-run) && [ -n "$running" ]; then
	say "$running"
	hint "what runs goes on with the old programs; to have it take the new ones, losing no request: $own/upgrade-running"
fi
if [ -n "$systemd" ]; then
	systemctl is-active -q neko || systemctl is-active -q neko-api || hint "look at /etc/neko/neko.yaml, then: systemctl enable --now neko"
elif [ -n "$running_system" ]; then
	hint 'systemd does not run here, so the units wait for it; without it the user neko, with /var/lib/neko as its own, does: NEKO_HOME=/var/lib/neko nekoctl start /etc/neko/neko.yaml'
else
	hint "no units and no user: root installs those; your own daemon starts with: $prefix/bin/nekoctl start"
fi
if [ "$prefix" != /usr ] && [ -x /usr/bin/nekoctl ]; then
	hint "a package has put another nekoctl into /usr/bin; one of the two should go"
fi
