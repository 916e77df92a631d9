# Words about the kernel as an NVMe/RDMA host, and as a target. Read before each script of the host.

HOST_ID=4c616220-0000-4000-8000-000000000001
HOST_NQN=nqn.2014-08.org.nvmexpress:uuid:$HOST_ID

# linux_host: the kernel's NVMe/RDMA host on this end of the wire, with an identity
linux_host() {
    rxe eth0
    modprobe nvme-rdma
    mkdir -p /etc/nvme
    echo $HOST_ID >/etc/nvme/hostid
    echo $HOST_NQN >/etc/nvme/hostnqn
}

# controllers_of NQN: the kernel's controllers of a remote subsystem
controllers_of() {
    for controller in /sys/class/nvme/nvme*; do
        [ "$(cat "$controller/subsysnqn" 2>/dev/null)" = "$1" ] && echo "${controller##*/}"
    done
    return 0
}

# becomes NQN STATE: waits until a remote subsystem's only controller is live, connecting, ...
becomes() {
    looks=0
    while [ $looks -lt 600 ]; do
        [ "$(cat "/sys/class/nvme/$(controllers_of "$1")/state" 2>/dev/null)" = "$2" ] && return 0
        looks=$((looks + 1))
        usleep 100000
    done
    echo "the controller of $1 is $(cat "/sys/class/nvme/$(controllers_of "$1")/state"), not $2"
    return 1
}

# remote_disk NQN NSID: the kernel's block device of a remote namespace. What reads or writes a name that is no block device
# would make a file of it, and be content
remote_disk() {
    looks=0
    while [ $looks -lt 100 ]; do
        for disk in /sys/block/nvme*; do
            [ "$(cat "$disk/nsid" 2>/dev/null)" = "$2" ] || continue
            [ "$(cat "$disk/device/subsysnqn")" = "$1" ] || continue
            if [ -b "/dev/${disk##*/}" ]; then
                echo "/dev/${disk##*/}"
                return 0
            fi
        done
        looks=$((looks + 1))
        usleep 100000
    done
    echo "the kernel has no disk for namespace $2 of $1" >&2
    return 1
}

# verified DISK BLOCK BYTES [OPTION...]: fio reads and writes at random in each of four parts of a disk, from both processors, and
# then reads back what it wrote, each block with a checksum
verified() {
    disk=$1 block=$2 bytes=$3
    shift 3
    fio --name=verified --filename="$disk" --bs="$block" --size="$bytes" --offset_increment=25% --rw=randrw --verify=crc32c \
        --numjobs=4 --cpus_allowed=0-1 --cpus_allowed_policy=split --iodepth=8 --ioengine=libaio --direct=1 \
        --group_reporting "$@" >/tmp/fio.out 2>&1 || { cat /tmp/fio.out; return 1; }
    grep -E 'err= 0|issued rwts' /tmp/fio.out
}

# file_system DISK KIND: made, filled with files, unmounted, checked; all files are the same after the next mount
file_system() {
    disk=$1 kind=$2
    modprobe "$kind"
    case $kind in
    ext4) mkfs.ext4 -q -F "$disk" 64M ;;
    xfs) mkfs.xfs -q -f "$disk" ;;
    esac
    mkdir -p /mnt
    mount -t "$kind" "$disk" /mnt
    [ -e /tmp/seed ] || dd if=/dev/urandom of=/tmp/seed bs=64k count=33 2>/dev/null
    files=0
    while [ $files -lt 20 ] && { echo $files; cat /tmp/seed; } >/mnt/file$files 2>/dev/null; do
        files=$((files + 1))
    done
    sync
    (cd /mnt && md5sum file*) >/tmp/sums
    rm /mnt/file1
    umount /mnt
    check_file_system "$disk" "$kind"
    mount -t "$kind" "$disk" /mnt
    grep -v ' file1$' /tmp/sums | (cd /mnt && md5sum -c) | grep -vc ': OK$' >/tmp/bad || true
    umount /mnt
    [ "$(cat /tmp/bad)" = 0 ] || { echo "$(cat /tmp/bad) files changed"; return 1; }
    echo "$kind: $files files filled, the same after the next mount"
}

# check_file_system DISK KIND: by the file system's own checker, which must find nothing
check_file_system() {
    case $2 in
    ext4) e2fsck -f -n "$1" ;;
    xfs) xfs_repair -n "$1" ;;
    esac >/tmp/check.out 2>&1 || { cat /tmp/check.out; return 1; }
}

# zeroes DISK BYTES: the first bytes of a disk read as zeroes, past the cache
zeroes() {
    dd if="$1" iflag=direct bs=1M count=$(($2 >> 20)) 2>/dev/null | cmp -n "$2" - /dev/zero
}

# comes_and_goes COUNT OPTION...: so many connects and disconnects, each with a block read in between
comes_and_goes() {
    turns=$1
    shift
    turn=0
    while [ $turn -lt "$turns" ]; do
        nvme connect -t rdma "$@" >/dev/null || { echo "connect $turn failed"; return 1; }
        nvme disconnect-all || { echo "disconnect $turn failed"; return 1; }
        turn=$((turn + 1))
    done
    echo "$turn times connected and disconnected"
}

# kernel_complains [EXPECTED]: succeeds, and says so, when the kernel's log has what no good log has, other than lines that
# match a regular expression.
kernel_complains() {
    dmesg | grep -E 'WARNING|BUG:|Oops|Call Trace|RIP:|hung|I/O error|critical|unexpected|[Ii]nvalid|fail|timeout|not supported' |
        grep -vE "${1:-^$}"
}

# nvmet_up: the kernel's NVMe/RDMA target
nvmet_up() {
    [ -e /sys/class/infiniband/rxe0 ] || rxe eth0
    modprobe -a nvmet nvmet-rdma
    mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config
}

# memory_disk NAME MIB: a disk of the kernel's that is kept in memory
memory_disk() {
    modprobe null_blk nr_devices=0
    mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config
    mkdir "/sys/kernel/config/nullb/$1"
    (
        cd "/sys/kernel/config/nullb/$1"
        echo "$2" >size
        echo 1 >memory_backed
        echo 1 >discard
        echo 512 >blocksize
        echo 1 >power
    )
}

# nvmet_namespace NQN NSID DISK: in a subsystem that is made where it is not there, and is for any host
nvmet_namespace() {
    subsystem=/sys/kernel/config/nvmet/subsystems/$1
    if [ ! -e "$subsystem" ]; then
        mkdir "$subsystem"
        echo 1 >"$subsystem/attr_allow_any_host"
    fi
    mkdir "$subsystem/namespaces/$2"
    echo "$3" >"$subsystem/namespaces/$2/device_path"
    echo 1 >"$subsystem/namespaces/$2/enable"
}

# nvmet_listens ADDRESS NQN: a subsystem can be reached there
nvmet_listens() {
    port=/sys/kernel/config/nvmet/ports/1
    mkdir "$port"
    echo rdma >"$port/addr_trtype"
    echo ipv4 >"$port/addr_adrfam"
    echo "$1" >"$port/addr_traddr"
    echo 4420 >"$port/addr_trsvcid"
    ln -s "/sys/kernel/config/nvmet/subsystems/$2" "$port/subsystems/"
}

# nvmet_leaves NQN: it can no longer be reached, and its hosts' connections end
nvmet_leaves() {
    rm "/sys/kernel/config/nvmet/ports/1/subsystems/$1"
    rmdir /sys/kernel/config/nvmet/ports/1
}

# written DISK MIB: waits until so much was written to a disk since it is there
written() {
    looks=0
    while [ $looks -lt 600 ]; do
        [ "$(awk '{ print $7 }' "/sys/block/${1##*/}/stat")" -ge $(($2 << 11)) ] && return 0
        looks=$((looks + 1))
        usleep 50000
    done
    echo "only $(awk '{ print $7 }' "/sys/block/${1##*/}/stat") sectors were written to $1"
    return 1
}
