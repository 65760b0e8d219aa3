#!/usr/bin/env bash
#
# Makes a small bootable Linux guest (qcow2) from Debian packages.
# Needs neither root rights nor loop mounts. See README.md beside this file.

set -euo pipefail

readonly SECTOR=512
readonly FIRST_SECTOR=2048
readonly MIN_DATA_MIB=8
# Fixed, so that two builds of the same packages differ as little as possible.
readonly DISK_ID=0x1d5c0001
readonly FAT_ID=1d5c0002
readonly DATA_UUID=1d5c0003-0000-4000-8000-000000000003
readonly CONTENT_TIME=946684800
readonly LIB_ARCH=x86_64-linux-gnu

# Loaded before /data is mounted, in this order; the rest follows later.
readonly EARLY_MODULES=(virtio_pci virtio_blk)
readonly LATE_MODULES=(virtio_console virtio_net evdev button)
# Loaded only on machines that have such a device.
readonly SEED_MODULES=(isofs)
readonly CDROM_MODULES=(virtio_scsi ata_piix sr_mod)

# What the guest's kernel needs to know. `quiet` and the serial console are for
# the reader; everything else shortens the start, above all under TCG.
# shellcheck disable=SC2054 # the comma belongs to the console's name
readonly KERNEL_ARGS=(
    console=ttyS0,115200 quiet
    panic=5
    nokaslr mitigations=off cryptomgr.notests init_on_alloc=0
    tsc=reliable no_timer_check random.trust_cpu=on
    rcupdate.rcu_expedited=1 audit=0 apparmor=0 selinux=0
    8250.nr_uarts=1
)

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
output=./tiny-linux.qcow2
data_mib=64
cache=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/instances-guest
refresh=no
work=

usage() {
    cat <<'TEXT'
Usage: build.sh [--output FILE] [--data-size MIB] [--cache DIR] [--refresh]

Makes a small bootable Linux guest as a qcow2 file.

  --output FILE     file to make (default: ./tiny-linux.qcow2)
  --data-size MIB   size of the guest's /data file system (default: 64);
                    only the virtual size grows with it
  --cache DIR       folder that keeps the downloaded packages
                    (default: ${XDG_CACHE_HOME:-$HOME/.cache}/instances-guest)
  --refresh         look for newer packages although the cache is complete
  --help            show this text
TEXT
}

say() { printf '%s\n' "guest image: $*" >&2; }

die() {
    printf '%s\n' "guest image: error: $*" >&2
    exit 1
}

# shellcheck disable=SC2317,SC2329 # called by the trap
cleanup() {
    if [[ -n $work ]]; then
        rm -rf -- "$work"
    fi
}

parse_arguments() {
    while (($# > 0)); do
        case $1 in
            --output | --data-size | --cache)
                if (($# < 2)) || [[ -z $2 ]]; then
                    die "$1 needs a value"
                fi
                case $1 in
                    --output) output=$2 ;;
                    --data-size) data_mib=$2 ;;
                    --cache) cache=$2 ;;
                esac
                shift 2
                ;;
            --refresh)
                refresh=yes
                shift
                ;;
            -h | --help)
                usage
                exit 0
                ;;
            *)
                usage >&2
                die "unknown argument: $1"
                ;;
        esac
    done
    [[ $data_mib =~ ^[1-9][0-9]{0,6}$ ]] || die "--data-size must be a whole number of MiB"
    ((data_mib >= MIN_DATA_MIB)) || die "--data-size must be at least $MIN_DATA_MIB"
    # A DOS label counts sectors in 32 bits.
    ((data_mib <= 2000000)) || die "--data-size must be at most 2000000"
    [[ ! -d $output ]] || die "$output is a folder"
}

# Prints the first of the paths that exists.
first_of() {
    local file
    for file in "$@"; do
        if [[ -e $file && ! -L $file ]]; then
            printf '%s\n' "$file"
            return
        fi
    done
    return 1
}

find_mbr() {
    first_of /usr/lib/SYSLINUX/mbr.bin /usr/lib/syslinux/mbr/mbr.bin /usr/lib/syslinux/bios/mbr.bin
}

check_tools() {
    local entry tool missing=()
    # tool:package
    for entry in apt-get:apt apt-cache:apt dpkg-deb:dpkg sfdisk:fdisk mkfs.vfat:dosfstools \
        mcopy:mtools syslinux:syslinux mke2fs:e2fsprogs qemu-img:qemu-utils lz4:lz4 xz:xz-utils; do
        tool=${entry%%:*}
        command -v "$tool" >/dev/null || missing+=("${entry#*:}")
    done
    find_mbr >/dev/null || missing+=(syslinux)
    if ((${#missing[@]} > 0)); then
        local packages
        packages=$(printf '%s\n' "${missing[@]}" | sort -u | tr '\n' ' ')
        die "tools are missing; install them with: apt-get install ${packages% }"
    fi
    # The boot loader, the packages' programs and the guest are for this machine only.
    [[ $(uname -m) == x86_64 ]] || die "this script runs on x86-64 only"
}

# --- Packages ---------------------------------------------------------------

package_known() {
    apt-cache show --no-all-versions "$1" >/dev/null 2>&1
}

# The libraries that a package depends on directly.
library_dependencies() {
    LC_ALL=C apt-cache depends --no-recommends --no-suggests --no-conflicts \
        --no-breaks --no-replaces --no-enhances "$1" |
        sed -n 's/^ *|\{0,1\}\(Pre\)\{0,1\}Depends: \(lib[^<> ]*\)$/\2/p'
}

kernel_package() {
    LC_ALL=C apt-cache depends linux-image-cloud-amd64 |
        sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1
}

# Downloads packages into the folder $1 and unpacks them under the folder $2.
download() {
    local debs=$1 tree=$2 into
    shift 2
    into=$(mktemp -d "$work/download.XXXXXX")
    # As root, apt would complain that its own user cannot write to this folder.
    (cd "$into" && apt-get -qq -o "APT::Sandbox::User=$(id -un)" download "$@") >&2 ||
        die "cannot download $*; if the package lists are old, run apt-get update"
    local deb
    for deb in "$into"/*.deb; do
        [[ -e $deb ]] || die "apt-get gave no package for $*"
        dpkg-deb -x "$deb" "$tree"
        mv -f -- "$deb" "$debs/"
    done
}

# Prints the libraries, and the loader, that a program under the tree $1 loads.
# It asks the downloaded loader, so neither this machine's libraries nor its
# linker cache come in. A library that the tree lacks shows as "not found" or
# as a path outside of the tree.
loaded_libraries() {
    local tree=$1 program=$2 loader
    loader=$(tree_loader "$tree")
    # `|| true`: the loader reports missing libraries by its exit code as well.
    env -u LD_LIBRARY_PATH -u LD_PRELOAD "$loader" --inhibit-cache \
        --library-path "$tree/usr/lib/$LIB_ARCH:$tree/lib/$LIB_ARCH" --list "$program" || true
}

tree_loader() {
    first_of "$1/lib/$LIB_ARCH/ld-linux-x86-64.so.2" "$1/usr/lib/$LIB_ARCH/ld-linux-x86-64.so.2" ||
        die "the C library's package holds no loader"
}

# Prints the names of the libraries that are not in the tree.
missing_libraries() {
    local tree=$1
    loaded_libraries "$tree" "$tree/usr/sbin/qemu-ga" 2>&1 |
        awk -v tree="$tree/" '
            / => not found/ { print $1; next }
            / => \// { if (index($3, tree) != 1) print $1; next }
            /cannot open shared object file/ { sub(/.*libraries: /, ""); sub(/:.*/, ""); print }'
}

# The agent's libraries come from packages, not from this machine: the agent
# may not be installed here, and libraries of another release need not fit.
# Dependencies are followed level by level, only until nothing is missing.
download_agent() {
    local debs=$1 tree=$2 level=(qemu-guest-agent) next name library
    declare -A seen=([qemu-guest-agent]=1)
    download "$debs" "$tree" qemu-guest-agent
    while :; do
        next=()
        for name in "${level[@]}"; do
            while read -r library; do
                if [[ -z ${seen[$library]:-} ]] && package_known "$library"; then
                    seen[$library]=1
                    next+=("$library")
                fi
            done < <(library_dependencies "$name")
        done
        ((${#next[@]} > 0)) || die "no package holds the libraries $(missing_libraries "$tree" | sort -u | tr '\n' ' ')"
        download "$debs" "$tree" "${next[@]}"
        if [[ -z $(missing_libraries "$tree") ]]; then
            break
        fi
        level=("${next[@]}")
    done
}

cache_complete() {
    [[ -s $cache/packages.sha256 ]] &&
        (cd "$cache" && sha256sum --check --quiet --strict packages.sha256 >/dev/null 2>&1)
}

unpack_cached() {
    local tree=$1 name
    while read -r _ name; do
        dpkg-deb -x "$cache/$name" "$tree"
    done <"$cache/packages.sha256"
}

fill_cache() {
    local tree=$1 debs=$work/debs kernel
    mkdir "$debs"
    package_known busybox-static ||
        die "apt knows no packages (busybox-static is not in its lists); run apt-get update"
    kernel=$(kernel_package)
    [[ -n $kernel ]] || die "apt does not know linux-image-cloud-amd64; run apt-get update"
    say "download $kernel, busybox-static, qemu-guest-agent and its libraries"
    download "$debs" "$tree" "$kernel" busybox-static
    download_agent "$debs" "$tree"
    # The list is written last: a cache without it, or with a file that does not
    # match, is filled again.
    (cd "$debs" && sha256sum -- *.deb) >"$debs/packages.sha256"
    mkdir -p -- "$cache" || die "cannot make the cache folder $cache"
    local stage old
    stage=$(mktemp -d "$cache/.new.XXXXXX") || die "cannot write to the cache folder $cache"
    if ! cp -- "$debs"/* "$stage/"; then
        rm -rf -- "$stage"
        die "cannot fill the cache folder $cache"
    fi
    mv -f -- "$stage"/*.deb "$cache/"
    mv -f -- "$stage/packages.sha256" "$cache/packages.sha256"
    rmdir -- "$stage"
    for old in "$cache"/*.deb; do
        grep -qF -- "  ${old##*/}" "$cache/packages.sha256" || rm -f -- "$old"
    done
}

get_packages() {
    local tree=$1
    mkdir "$tree"
    if [[ $refresh == no ]] && cache_complete; then
        say "unpack the packages of $cache"
        unpack_cached "$tree"
    else
        fill_cache "$tree"
    fi
}

# --- Initramfs --------------------------------------------------------------

# Debian ships modules plain or compressed, depending on the release.
read_module() {
    case $1 in
        *.ko) cat -- "$1" ;;
        *.ko.xz) xz -dc -- "$1" ;;
        *.ko.zst) zstd -dcq -- "$1" ;;
        *.ko.gz) gzip -dc -- "$1" ;;
    esac
}

# Copies the module $1 after the modules it depends on and appends their names,
# in loading order, to the list $2. A module that is built in needs nothing.
add_module() {
    local name=$1 list=$2 file copy depends
    copy=$root/modules/$name.ko
    if [[ ! -e $copy ]]; then
        file=$(find "$modules" \( -name "$name.ko" -o -name "$name.ko.*" -o -name "${name//_/-}.ko" \
            -o -name "${name//_/-}.ko.*" \) -print -quit)
        if [[ -z $file ]]; then
            grep -qE "/${name//_/[-_]}\.ko" "$modules/modules.builtin" && return
            die "the kernel package has no module $name"
        fi
        read_module "$file" >"$copy"
    fi
    depends=$(tr '\0' '\n' <"$copy" | LC_ALL=C sed -n 's/^depends=//p' | head -n 1)
    local dependency
    for dependency in ${depends//,/ }; do
        add_module "$dependency" "$list"
    done
    grep -qx "$name" "$list" || printf '%s\n' "$name" >>"$list"
}

# Writes the list /etc/modules.$1 for the modules that follow.
add_modules() {
    local list=$root/etc/modules.$1 name
    shift
    : >"$list"
    for name in "$@"; do
        add_module "$name" "$list"
    done
}

add_agent() {
    local tree=$1 library loader
    install -m 755 "$tree/usr/sbin/qemu-ga" "$root/sbin/qemu-ga"
    loader=$(tree_loader "$tree")
    install -m 755 "$loader" "$root/lib64/ld-linux-x86-64.so.2"
    while read -r library; do
        install -m 755 "$library" "$root/lib/${library##*/}"
    done < <(loaded_libraries "$tree" "$tree/usr/sbin/qemu-ga" |
        awk -v tree="$tree/" '/ => \// && index($3, tree) == 1 && $1 !~ /\/ld-linux/ { print $3 }')
    # The loader is asked again, now for what the guest will really hold.
    env -u LD_LIBRARY_PATH -u LD_PRELOAD "$root/lib64/ld-linux-x86-64.so.2" --inhibit-cache \
        --library-path "$root/lib" --verify "$root/sbin/qemu-ga" ||
        die "the guest agent cannot be loaded from the guest's libraries"
}

make_root() {
    local tree=$1 applet file
    say "make the initramfs"
    mkdir -p "$root"/{bin,sbin,etc,lib,lib64,modules,proc,sys,dev,run,tmp,root,data,mnt,www,usr}
    ln -s ../bin "$root/usr/bin"
    ln -s ../sbin "$root/usr/sbin"
    mkdir "$root/var"
    ln -s ../run "$root/var/run"
    ln -s ../tmp "$root/var/tmp"
    install -m 755 "$busybox" "$root/bin/busybox"
    for applet in $("$busybox" --list); do
        case $applet in
            # The guest has scripts of its own for these. A modprobe would only
            # be called in vain by the kernel, for modules that are not there.
            busybox | modprobe | depmod | poweroff | reboot | halt) ;;
            *) ln -s busybox "$root/bin/$applet" ;;
        esac
    done
    for applet in poweroff reboot halt shutdown; do
        ln -s powerdown "$root/sbin/$applet"
    done
    install -m 755 "$here/init" "$root/init"
    for file in powerdown power-button guest-agent serial-shell dhcp-event; do
        install -m 755 "$here/$file" "$root/sbin/$file"
    done
    install -m 644 "$here/inittab" "$root/etc/inittab"
    printf 'root:x:0:0:root:/root:/bin/sh\n' >"$root/etc/passwd"
    printf 'root:x:0:\n' >"$root/etc/group"
    printf '127.0.0.1 localhost\n' >"$root/etc/hosts"
    ln -s /proc/mounts "$root/etc/mtab"

    modules=$(first_of "$tree"/lib/modules/* "$tree"/usr/lib/modules/*) ||
        die "the kernel package holds no modules"
    add_modules early "${EARLY_MODULES[@]}"
    add_modules late "${LATE_MODULES[@]}"
    add_modules seed "${SEED_MODULES[@]}"
    add_modules cdrom "${CDROM_MODULES[@]}"
    add_agent "$tree"
}

pack_root() {
    find "$root" -depth -exec touch -h -d "@$CONTENT_TIME" {} +
    (cd "$root" && find . -mindepth 1 | LC_ALL=C sort |
        "$busybox" cpio -o -H newc -R 0:0 --renumber-inodes --ignore-devno) >"$work/initramfs.cpio" 2>/dev/null ||
        die "cannot pack the initramfs"
    # The quickest start of gzip, zstd, lz4 and none; the kernel knows lz4's
    # legacy format only.
    lz4 -q -l -9 -c "$work/initramfs.cpio" >"$work/initramfs"
}

# --- Disk -------------------------------------------------------------------

file_size() { stat -Lc %s -- "$1"; }

make_boot_partition() {
    local boot=$1 bytes
    say "make the boot partition"
    {
        printf 'DEFAULT linux\nPROMPT 0\nTIMEOUT 0\n'
        printf 'LABEL linux\n  LINUX vmlinuz\n  INITRD initramfs\n  APPEND %s\n' "${KERNEL_ARGS[*]}"
    } >"$work/syslinux.cfg"
    bytes=$(($(file_size "$work/vmlinuz") + $(file_size "$work/initramfs")))
    # Room for the boot loader and the tables; FAT16 needs 4085 clusters anyway.
    boot_mib=$((bytes / 1048576 + 3))
    ((boot_mib >= 16)) || boot_mib=16
    truncate -s "${boot_mib}M" "$boot"
    mkfs.vfat -F 16 -s 4 -n BOOT -i "$FAT_ID" --invariant "$boot" >/dev/null
    syslinux --install "$boot"
    touch -d "@$CONTENT_TIME" "$work/vmlinuz" "$work/initramfs" "$work/syslinux.cfg"
    TZ=UTC mcopy -m -i "$boot" "$work/syslinux.cfg" "$work/vmlinuz" "$work/initramfs" ::/
}

make_disk() {
    local boot=$work/boot.fat raw=$work/disk.raw
    make_boot_partition "$boot"
    local boot_sectors=$((boot_mib * 1048576 / SECTOR))
    local data_sectors=$((data_mib * 1048576 / SECTOR))
    local data_start=$((FIRST_SECTOR + boot_sectors))
    say "make the data partition ($data_mib MiB)"
    truncate -s $(((data_start + data_sectors) * SECTOR)) "$raw"
    sfdisk --quiet "$raw" <<TABLE
label: dos
label-id: $DISK_ID
unit: sectors
start=$FIRST_SECTOR, size=$boot_sectors, type=6, bootable
start=$data_start, size=$data_sectors, type=83
TABLE
    dd if="$(find_mbr)" of="$raw" bs=440 count=1 conv=notrunc status=none
    dd if="$boot" of="$raw" bs=1M oflag=seek_bytes seek=$((FIRST_SECTOR * SECTOR)) \
        conv=notrunc,sparse status=none
    # Few inodes and lazy tables keep a large file system as small as a small one.
    E2FSPROGS_FAKE_TIME=$CONTENT_TIME mke2fs -q -F -t ext4 -L data -U "$DATA_UUID" -m 0 -b 4096 -i 65536 \
        -J size=4 -O ^resize_inode \
        -E "offset=$((data_start * SECTOR)),lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0,hash_seed=$DATA_UUID" \
        "$raw" "$((data_mib * 1024))k"
    say "convert to qcow2"
    qemu-img convert -f raw -O qcow2 -o compat=1.1,cluster_size=65536 "$raw" "$work/disk.qcow2"
}

main() {
    parse_arguments "$@"
    # Ordinary users often lack these, although they may run what is in them.
    PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
    check_tools
    umask 022

    local folder kernel
    folder=$(dirname -- "$output")
    mkdir -p -- "$folder" || die "cannot make the folder $folder"
    folder=$(cd -- "$folder" && pwd)
    [[ $cache == /* ]] || cache=$PWD/$cache
    trap cleanup EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    # Beside the output, so that the last step is a rename within one file system.
    work=$(mktemp -d "$folder/.guest-image.XXXXXX") || die "cannot write to the folder $folder"
    root=$work/root

    get_packages "$work/tree"
    busybox=$(first_of "$work"/tree/bin/busybox "$work"/tree/usr/bin/busybox) ||
        die "busybox-static holds no busybox"
    kernel=$(first_of "$work"/tree/boot/vmlinuz-*) || die "the kernel package holds no kernel"
    cp -- "$kernel" "$work/vmlinuz"
    make_root "$work/tree"
    pack_root
    make_disk
    mv -f -- "$work/disk.qcow2" "$folder/$(basename -- "$output")"
    say "made $output ($(($(file_size "$output") / 1048576)) MiB)"
}

main "$@"
