# Shell functions that run.sh and test.sh share: set-up on a fresh Debian machine. Sourced with the repository's root as working directory.

guest=artifacts/guest/tiny-linux.qcow2

say() { printf '\n==> %s\n' "$*"; }

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

as_root() {
  if ((EUID == 0)); then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else fail "This needs root, and there is no sudo: run as root: $*"; fi
}

# The programs that are needed, each with the Debian package that brings it.
needed=(
  qemu-system-x86_64:qemu-system-x86 qemu-img:qemu-utils genisoimage:genisoimage curl:curl setpriv:util-linux
  syslinux:syslinux mcopy:mtools mkfs.vfat:dosfstools sfdisk:fdisk mke2fs:e2fsprogs lz4:lz4 xz:xz-utils gzip:gzip zstd:zstd
)

# install_missing [PROGRAM:PACKAGE ...]: those, too.
install_missing() {
  PATH=$PATH:/usr/sbin:/sbin
  command -v dotnet >/dev/null || fail "The .NET 10 SDK is missing: install it from https://dotnet.microsoft.com/download and run this again."
  local entry packages=()
  for entry in "${needed[@]}" "$@"; do command -v "${entry%%:*}" >/dev/null || packages+=("${entry##*:}"); done
  ((${#packages[@]})) || return 0
  command -v apt-get >/dev/null || fail "These programs are missing, and this is no Debian machine to install them on: ${packages[*]}"
  say "Installing ${packages[*]}"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
}

# The programs of PostgreSQL, without the server that Debian would set up and start with them.
install_postgresql() {
  compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null && return 0
  command -v apt-get >/dev/null || fail "PostgreSQL is missing, and this is no Debian machine to install it on."
  say "Installing postgresql, with create_main_cluster = false: its programs only, no server is set up"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql-common >/dev/null
  as_root sed -i 's/^#\?create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >/dev/null
}

# Built once, in artifacts/, which git ignores.
build_guest() {
  [[ -e $guest ]] && return 0
  say "Building the guest image (once)"
  # The guest's packages are looked up in apt's lists, which a fresh machine may not have.
  if ! apt-cache show linux-image-cloud-amd64 >/dev/null 2>&1; then as_root apt-get update -qq; fi
  mkdir -p "$(dirname "$guest")"
  silo/guest-image/build.sh --output "$guest"
}

# Ends the QEMU processes of a data folder. A machine's process works in its run folder and has its id in the arguments, so that no other process is ended.
end_machines() {
  local folder process id
  for folder in "$1"/machines/*/; do
    [[ -d $folder ]] || continue
    id=$(basename "$folder")
    for process in /proc/[0-9]*; do
      [[ $(readlink "$process/cwd" 2>/dev/null) == "$(realpath "$folder")"* ]] || continue
      grep -qz -- "$id" "$process/cmdline" 2>/dev/null || continue
      say "Ending the virtual machine $id"
      kill -KILL "${process#/proc/}" 2>/dev/null || true
    done
  done
}
