#!/bin/sh
# After removing. Configuration, spool and user stay until `purge`; rpm has no purge, and there
# they stay for whoever deletes them.
set -e
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || true
fi
[ "${1:-}" = purge ] || exit 0

rm -rf /var/lib/twosec-agent
rm -rf /etc/systemd/system/twosec-agent.service.d
rmdir --ignore-fail-on-non-empty /etc/twosec 2>/dev/null || true
# What containers have printed is the host's, not ours: a folder with files in it stays.
rmdir --ignore-fail-on-non-empty /var/log/docker 2>/dev/null || true
if getent passwd twosec >/dev/null; then
    userdel twosec || true
fi
if getent group twosec >/dev/null; then
    groupdel twosec || true
fi
