# Sourced by the tests that need the files of a host: Debian 12 with systemd, cloud-init and rpm. They
# are fetched once; each test writes beside them, so that the next one finds them as they were.
# shellcheck shell=bash
home="${TWOSEC_PACKAGING_HOME:-$HOME/.cache/twosec-packaging}"
tree="$home/bookworm-4"

fresh_tree() { # folder: a tree is in it afterwards
    if [ ! -d "$tree" ]; then
        mkdir -p "$home"
        rm -rf --one-file-system "$tree.part"
        mmdebstrap --quiet --variant=minbase \
            --include=systemd-sysv,dbus,cloud-init,curl,ca-certificates,logrotate,python3-minimal,procps,iproute2,util-linux,rpm \
            bookworm "$tree.part"
        mv "$tree.part" "$tree"
    fi
    mkdir -p "$1" "$1.upper" "$1.work"
    # Where there can be no overlay (a container that is one itself), it is a copy.
    mount -t overlay overlay -o "lowerdir=$tree,upperdir=$1.upper,workdir=$1.work" "$1" 2>/dev/null || cp -a "$tree/." "$1/"
}
drop_tree() { # folder
    ! mountpoint -q "$1" || umount "$1"
    rm -rf --one-file-system "$1" "$1.upper" "$1.work"
}
