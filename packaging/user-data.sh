#!/bin/bash
# Makes a host of the pipeline: the agent from its package, then (if asked) DVWA in containers.
#
# Terraform puts the settings before this script and hands both to EC2 as user data. By hand:
#
#   sudo TWOSEC_STREAM=twosec TWOSEC_PACKAGE=./twosec-agent_0.1.0-1_amd64.deb \
#        TWOSEC_PACKAGE_SHA256=... bash user-data.sh
#
# Settings:
#   TWOSEC_STREAM          the Kinesis stream; else the instance's tag `twosec-stream`
#   TWOSEC_FORMAT          stream.format of the agent (frame)
#   TWOSEC_PACKAGE         a file, an https:// or an s3:// address of the agent's .deb or .rpm
#   TWOSEC_PACKAGE_SHA256  its hash: what has another one is not installed
#   TWOSEC_GEOIP           MaxMind databases, of which the agent tells where clients are: s3:// and
#                          https:// addresses are fetched, files are used where they lie; with spaces
#                          between (those that the agent's configuration names)
#   TWOSEC_DVWA            yes: run DVWA (no)
#   TWOSEC_DVWA_IMAGE, TWOSEC_MARIADB_IMAGE   its images
#   TWOSEC_DVWA_BIND       the address on which DVWA listens (127.0.0.1)
#   TWOSEC_WAIT_SECONDS    how long to wait for the network, and for the agent to be well (300)
#
# Run again it changes only what differs; a configuration that somebody has edited stays. It ends with a line TWOSEC-USERDATA OK or
# TWOSEC-USERDATA FAILED, on the console, in the journal and in the log below. DVWA comes last: a
# host whose agent does not work runs nothing that is made to be attacked. What it made itself stays
# when the package is purged: containers, their password and the databases in /var/lib/twosec-install,
# Apache's logs and their rotation, and its own log.
set -Eeuo pipefail
umask 022

log=/var/log/twosec-user-data.log
state=/var/lib/twosec-install
config=/etc/twosec/agent.toml
written="$state/agent.toml.sha256"
step='reading the settings'
wait_s="${TWOSEC_WAIT_SECONDS:-300}"

say() {
    local line="TWOSEC-USERDATA $*"
    echo "$line"
    echo "$line" >>"$log" || true
    # The console is what EC2 shows of a host that nobody can log into.
    { [ -w /dev/console ] && echo "$line" >/dev/console; } 2>/dev/null || true
    logger -t twosec-user-data -- "$line" 2>/dev/null || true
}
fail() {
    trap - ERR EXIT
    say "FAILED while $step: $*"
    exit 1
}
trap 'fail "line $LINENO ended with $?"' ERR
begin() { step="$1"; say "now $step"; }

# Tries until a command succeeds or time is up: networks are late on a new host.
until_ok() { # what, command...
    local what="$1" end=$((SECONDS + wait_s)) told=''
    shift
    until "$@" >>"$log" 2>&1; do
        [ "$SECONDS" -lt "$end" ] || fail "$what within $wait_s s; see $log"
        # Once: whoever looks at the console sees for what the host waits.
        [ -n "$told" ] || say "$what: trying again for $wait_s s"
        told=yes
        sleep 3
    done
}

# ---- settings -------------------------------------------------------------------------------

[ "$(id -u)" = 0 ] || fail "root is needed"

metadata="${AWS_EC2_METADATA_SERVICE_ENDPOINT:-http://169.254.169.254}"
imds() { # path
    local token
    token="$(curl -sf -m 3 -X PUT "$metadata/latest/api/token" -H 'X-aws-ec2-metadata-token-ttl-seconds: 300')" || return 1
    curl -sf -m 3 -H "X-aws-ec2-metadata-token: $token" "$metadata/latest/$1"
}

stream="${TWOSEC_STREAM:-$(imds meta-data/tags/instance/twosec-stream || true)}"
format="${TWOSEC_FORMAT:-frame}"
package="${TWOSEC_PACKAGE:-}"
sha256="${TWOSEC_PACKAGE_SHA256:-}"
[[ "$stream" =~ ^[A-Za-z0-9_.-]{1,128}$ ]] || fail "TWOSEC_STREAM is \`$stream\`: give the name of the stream"
[[ "$format" =~ ^(frame|ecs|cloudwatch_logs|kpl)$ ]] || fail "TWOSEC_FORMAT is \`$format\`: use frame, ecs, cloudwatch_logs or kpl"
[[ "$package" =~ \.(deb|rpm)$ ]] || fail "TWOSEC_PACKAGE is \`$package\`: give a .deb or an .rpm"
read -rd '' -a databases <<<"${TWOSEC_GEOIP:-}" || true
names=' '
for address in "${databases[@]}"; do
    [[ "$address" =~ ^(s3://|https://|/)[A-Za-z0-9:/._-]+\.mmdb$ ]] || fail "TWOSEC_GEOIP names \`$address\`: give s3:// or https:// addresses, or paths, that end in .mmdb"
    [[ "$names" != *" ${address##*/} "* ]] || fail "TWOSEC_GEOIP names two databases ${address##*/}"
    names+="${address##*/} "
done
[[ "$sha256" =~ ^[0-9a-f]{64}$ ]] || fail "TWOSEC_PACKAGE_SHA256 is \`$sha256\`: give 64 hex digits"

# shellcheck source=/dev/null
. /etc/os-release
case " $ID ${ID_LIKE:-} " in
    *' debian '*) kind=deb ;;
    *' fedora '* | *' rhel '* | *' amzn '*) kind=rpm ;;
    *) fail "this is $ID: Debian, Ubuntu, Amazon Linux 2023, Fedora and their like are known" ;;
esac
[[ "$package" == *."$kind" ]] || fail "\`$package\` is not for this system, which takes .$kind"

# ---- the agent ------------------------------------------------------------------------------

fetch_s3() { # s3://bucket/key, file
    local bucket key keys
    if command -v aws >/dev/null; then
        aws s3 cp --only-show-errors "$1" "$2"
        return
    fi
    bucket="${1#s3://}"
    key="${bucket#*/}"
    bucket="${bucket%%/*}"
    local region="${AWS_REGION:-$(imds meta-data/placement/region)}"
    local role
    role="$(imds meta-data/iam/security-credentials/)"
    keys="$(imds "meta-data/iam/security-credentials/${role%%$'\n'*}")"
    value() { tr ',' '\n' <<<"$keys" | sed -n "s/.*\"$1\" *: *\"\([^\"]*\)\".*/\1/p"; }
    # Secrets go by a file: arguments are for all to see.
    curl -sSf -m 120 -o "$2" --aws-sigv4 "aws:amz:$region:s3" -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' \
        -K <(printf 'user = "%s:%s"\nheader = "x-amz-security-token: %s"\n' \
            "$(value AccessKeyId)" "$(value SecretAccessKey)" "$(value Token)") \
        "${AWS_ENDPOINT_URL_S3:-https://s3.$region.amazonaws.com}/$bucket/$key"
}
fetch() { # address, file
    case "$1" in
        s3://*) fetch_s3 "$1" "$2" ;;
        https://*) curl -sSfL --proto '=https' -m 120 -o "$2" "$1" ;;
        *) cp "$1" "$2" ;;
    esac
}

install -d -m 0755 "$state"
if [ "$(cat "$state/sha256" 2>/dev/null)" = "$sha256" ] && [ -x /usr/bin/twosec-agent ]; then
    say "the agent of this package is installed"
else
    begin "fetching $package"
    fetched="$state/package.$kind"
    until_ok "it did not come" fetch "$package" "$fetched"
    begin "checking the package"
    if ! echo "$sha256  $fetched" | sha256sum --check --status; then
        found="$(sha256sum <"$fetched")"
        rm -f "$fetched"
        fail "its SHA-256 is ${found%% *} and not $sha256: it is not installed"
    fi
    begin "installing the package"
    # A package brings its own configuration where there is none; that is nobody's edit.
    [ -e "$config" ] || rm -f "$written"
    # Another installation may hold the lock: a new host updates itself at first.
    if [ "$kind" = deb ]; then
        until_ok "dpkg did not install it" env DEBIAN_FRONTEND=noninteractive dpkg --install --force-confold "$fetched"
    else
        until_ok "rpm did not install it" rpm --upgrade --replacepkgs --oldpackage "$fetched"
    fi
    rm -f "$fetched"
    echo "$sha256" >"$state/sha256"
fi

begin "configuring the agent"
# Apache's logs, of the host or of a container. Group adm reads them, others do not. /var/log/docker
# is the package's own.
install -d -m 0750 -o root -g adm /var/log/apache2

# Who attacks is told without them, too, so one that does not come stops nothing: the one that was
# there stays, or the agent warns. It reads a new one by itself.
geoip=''
for address in "${databases[@]}"; do
    database="$address"
    if [[ "$address" != /* ]]; then
        database="$state/geoip/${address##*/}"
        install -d "$state/geoip"
        # Near its end it says what it is (MaxMind DB File Format Specification, "Database Metadata").
        if fetch "$address" "$database.new" >>"$log" 2>&1 &&
            [ "$(tail -c 131072 "$database.new" | LC_ALL=C grep -caF MaxMind.com)" != 0 ]; then
            chmod 0644 "$database.new"
            mv "$database.new" "$database"
        else
            rm -f "$database.new"
            say "WARNING: the GeoIP database $address did not come"
        fi
    fi
    geoip+="${geoip:+, }\"$database\""
done
[ ${#databases[@]} -gt 0 ] || geoip="$(sed -n 's/^geoip = \[\(.*\)\]$/\1/p' "$config" 2>/dev/null || true)"

cat >"$config.new" <<TOML
# Written by user-data.sh. What each setting means: twosec-agent init --config -
[stream]
name = "$stream"
format = "$format"

[[file]]
path = "/var/log/apache2/*access.log"
format = "auto"

[[file]]
path = "/var/log/apache2/*error.log"
format = "error"

[[file]]
path = "/var/log/docker/*.log"
format = "auto"

[spool]
path = "/var/lib/twosec-agent"
max_bytes = "1 GiB"

[enrich]
geoip = [$geoip]
TOML
twosec-agent check --config "$config.new" >>"$log" 2>&1 || fail "the configuration is not good; see $log"
if cmp -s "$config.new" "$config"; then
    rm "$config.new"
    sha256sum "$config" >"$written"
elif [ -e "$config" ] && [ -e "$written" ] && ! sha256sum --check --status "$written"; then
    say "WARNING: $config was edited since it was written here, so it stays; what would be written now is $config.new"
else
    mv "$config.new" "$config"
    sha256sum "$config" >"$written"
    changed=yes
fi

begin "starting the agent"
systemctl enable twosec-agent.service >>"$log" 2>&1
if systemctl is-active --quiet twosec-agent.service; then
    [ -z "${changed:-}" ] || systemctl reload twosec-agent.service
else
    systemctl start twosec-agent.service >>"$log" 2>&1
fi
until_ok "it did not become active" systemctl is-active --quiet twosec-agent.service

# What is attacked is not started before somebody watches.
begin "waiting for the agent to be well"
until_ok "something stands in its way (twosec-agent status)" twosec-agent status

# ---- DVWA -----------------------------------------------------------------------------------

# Starts a container unless it runs already with these very arguments.
container() { # name, arguments...
    local name="$1" wanted
    shift
    wanted="$(printf '%s\n' "$@" | sha256sum | cut -c1-16)"
    [ "$(docker inspect --format '{{index .Config.Labels "twosec.settings"}}' "$name" 2>/dev/null)" != "$wanted" ] || return 0
    docker rm --force "$name" >/dev/null 2>&1 || true
    docker run --detach --name "$name" --label "twosec.settings=$wanted" --restart unless-stopped \
        --network dvwa --memory 512m --pids-limit 256 --security-opt no-new-privileges "$@"
}

if [ "${TWOSEC_DVWA:-no}" = yes ]; then
    [ -n "${TWOSEC_DVWA_IMAGE:-}" ] && [ -n "${TWOSEC_MARIADB_IMAGE:-}" ] || fail "TWOSEC_DVWA_IMAGE or TWOSEC_MARIADB_IMAGE is missing"
    begin "installing Docker"
    if ! command -v docker >/dev/null; then
        if [ "$kind" = deb ]; then
            until_ok "apt-get did not install it" env DEBIAN_FRONTEND=noninteractive sh -c \
                'apt-get -o DPkg::Lock::Timeout=60 -qq update && apt-get -o DPkg::Lock::Timeout=60 -qy install --no-install-recommends docker.io'
        else
            until_ok "dnf did not install it" dnf -qy install docker
        fi
    fi
    # Containers' own logs are bounded: they are not what is kept.
    if [ ! -e /etc/docker/daemon.json ]; then
        install -d /etc/docker
        echo '{ "log-driver": "json-file", "log-opts": { "max-size": "50m", "max-file": "3" }, "live-restore": true }' >/etc/docker/daemon.json
    fi
    systemctl enable --now docker.service >>"$log" 2>&1
    until_ok "Docker does not answer" docker version

    begin "starting DVWA"
    for image in "$TWOSEC_MARIADB_IMAGE" "$TWOSEC_DVWA_IMAGE"; do
        docker image inspect "$image" >/dev/null 2>&1 || until_ok "$image did not come" docker pull --quiet "$image"
    done
    docker network inspect dvwa >/dev/null 2>&1 || docker network create dvwa >>"$log"
    # Both containers read the password from here; it is made once.
    secret="$state/dvwa.env"
    if [ ! -e "$secret" ]; then
        word="$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')"
        (umask 077 && printf '%s\n' "MARIADB_PASSWORD=$word" "MARIADB_RANDOM_ROOT_PASSWORD=yes" MARIADB_DATABASE=dvwa MARIADB_USER=dvwa \
            DB_SERVER=dvwa-db DB_DATABASE=dvwa DB_USER=dvwa "DB_PASSWORD=$word" >"$secret")
    fi
    container dvwa-db --env-file "$secret" --volume dvwa-db:/var/lib/mysql "$TWOSEC_MARIADB_IMAGE" >>"$log" 2>&1
    # Over the image's own folder, where the logs are links to standard output, lies the host's:
    # Apache then writes files, and the agent reads them.
    container dvwa --env-file "$secret" --volume /var/log/apache2:/var/log/apache2 \
        --publish "${TWOSEC_DVWA_BIND:-127.0.0.1}:80:80" "$TWOSEC_DVWA_IMAGE" >>"$log" 2>&1

    # Apache holds its logs open: after a rotation it is told to open new ones. Names are the same on
    # every system, whatever logrotate.conf says of dates.
    cat >/etc/logrotate.d/twosec-apache2 <<'ROTATE'
/var/log/apache2/*.log {
    daily
    maxsize 100M
    rotate 7
    nodateext
    missingok
    notifempty
    compress
    delaycompress
    create 0640 root adm
    su root adm
    sharedscripts
    postrotate
        docker kill --signal USR1 dvwa >/dev/null 2>&1 || true
    endscript
}
ROTATE
    systemctl enable --now twosec-docker-logs@dvwa.service twosec-docker-logs@dvwa-db.service >>"$log" 2>&1
fi

trap - ERR
say "OK $(twosec-agent --version), stream $stream"
