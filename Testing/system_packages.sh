#!/bin/sh
# Install the Debian packages that are named and missing; without the right to, print the one line that does it.
missing=""
for package in "$@"; do
    dpkg-query --show --showformat='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
if ! command -v apt-get >/dev/null; then
    echo "Pictures need an EGL library (Mesa) and fontconfig; install them with your system's package manager." >&2
elif [ "$(id -u)" -eq 0 ]; then
    echo "Installing:$missing"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; } >/dev/null ||
        echo "Could not install$missing; pictures and some tests may not work." >&2
else
    echo "Pictures need packages of the system. Run: sudo apt-get install$missing" >&2
fi
exit 0
