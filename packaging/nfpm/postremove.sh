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
# What twosec-docker-logs@.service wrote and logrotate-docker moved on: log files go with their package
# (Debian Policy 10.8). Whatever else lies there stays, and the folder with it.
rm -f /var/log/docker/*.log /var/log/docker/*.log.[0-9]*
rmdir --ignore-fail-on-non-empty /var/log/docker 2>/dev/null || true
if getent passwd twosec >/dev/null; then
    userdel twosec || true
fi
if getent group twosec >/dev/null; then
    groupdel twosec || true
fi
