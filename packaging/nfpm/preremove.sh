#!/bin/sh
# Before removing. An upgrade (deb: `upgrade`, rpm: 1) leaves the old agent running until the new
# one takes over.
set -e
case "${1:-}" in
    remove | 0) ;;
    *) exit 0 ;;
esac
if [ -d /run/systemd/system ]; then
    systemctl stop twosec-agent.service 'twosec-docker-logs@*.service' || true
    # Each instance that was enabled is a link of its own.
    for link in /etc/systemd/system/*.wants/twosec-docker-logs@*.service; do
        [ -L "$link" ] || continue
        systemctl --quiet disable "$(basename "$link")" || true
    done
    systemctl --quiet disable twosec-agent.service || true
fi
