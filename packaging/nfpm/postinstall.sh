#!/bin/sh
# After installing or upgrading. deb calls it `configure [OLD_VERSION]`, rpm with the number of
# versions that are installed now.
set -e
case "${1:-}" in
    configure | 1 | 2) ;;
    *) exit 0 ;;
esac

# The user, whose rights the unit asks for. A container may have no systemd.
if command -v systemd-sysusers >/dev/null; then
    systemd-sysusers twosec-agent.conf
elif ! getent passwd twosec >/dev/null; then
    getent group adm >/dev/null || groupadd --system adm
    useradd --system --user-group --groups adm --home-dir /var/lib/twosec-agent --no-create-home \
        --shell /usr/sbin/nologin twosec
fi
if command -v systemd-tmpfiles >/dev/null; then
    systemd-tmpfiles --create twosec-agent.conf || true
fi

if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    # Only what ran runs again. A new agent is started by whoever has configured it.
    systemctl try-restart twosec-agent.service || true
    # The names of instances that run are known to systemd alone.
    systemctl try-restart 'twosec-docker-logs@*.service' || true
    if ! systemctl is-enabled --quiet twosec-agent.service 2>/dev/null; then
        echo "twosec-agent: edit /etc/twosec/agent.toml, then: systemctl enable --now twosec-agent"
    fi
fi
