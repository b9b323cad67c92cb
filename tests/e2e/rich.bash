# What the files on rich containers share: the Debian images, and one that has booted.

# debian_images: the folder with them; made once on a machine (a minute or some).
debian_images() { "$POUCH_TOP/tools/make-images" debian; }

# rich_up [FLAG...]: a pouchd that has Debian with systemd, an application and agents.
rich_up() {
    pouchd_start "$@"
    pouch load -q -i "$(debian_images)/debian-rich.oci.tar" >/dev/null
}

# vm NAME [FLAG...]: a rich container that has booted, with nothing failed in it.
vm() {
    local name=$1
    shift
    pouch run -d --name "$name" --rich --rich-mode systemd "$@" debian-rich >/dev/null
    within 20 booted "$name"
    is "$(pouch exec -u root "$name" systemctl is-system-running)" running
}
booted() { [[ "$(pouch exec -u root "$1" systemctl is-system-running 2>/dev/null)" =~ ^(running|degraded)$ ]]; }
