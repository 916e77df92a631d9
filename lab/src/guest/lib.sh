# Words that scenarios share in the guest. Read before each script of the host.

# driver_of ADDRESS: the driver that has a PCI function, or "none"
driver_of() {
    if [ -e "/sys/bus/pci/devices/$1/driver" ]; then
        basename "$(readlink "/sys/bus/pci/devices/$1/driver")"
    else
        echo none
    fi
}

# give ADDRESS DRIVER: moves a PCI function to a driver by sysfs, as an administrator does by hand
give() {
    modprobe "$2"
    echo "$2" >"/sys/bus/pci/devices/$1/driver_override"
    if [ "$(driver_of "$1")" != none ]; then
        echo "$1" >"/sys/bus/pci/devices/$1/driver/unbind"
    fi
    echo "$1" >/sys/bus/pci/drivers_probe
    [ "$(driver_of "$1")" = "$2" ] || { echo "$1 is with $(driver_of "$1"), not with $2"; return 1; }
}

# disk_of ADDRESS NSID: the kernel's block device of a namespace; its number does not follow the nsid
disk_of() {
    tries=0
    while [ $tries -lt 100 ]; do
        for disk in /sys/block/nvme*; do
            [ "$(cat "$disk/nsid" 2>/dev/null)" = "$2" ] || continue
            [ "$(cat "$disk/device/address")" = "$1" ] || continue
            if [ -b "/dev/${disk##*/}" ]; then
                echo "/dev/${disk##*/}"
                return 0
            fi
        done
        tries=$((tries + 1))
        usleep 100000
    done
    echo "the kernel has no disk for namespace $2 of $1" >&2
    return 1
}

# hugepages COUNT: 2 MiB pages for userspace drivers
hugepages() {
    echo "$1" >/proc/sys/vm/nr_hugepages
    [ "$(cat /proc/sys/vm/nr_hugepages)" -ge "$1" ] || { echo "no $1 huge pages to be had"; return 1; }
}

# interrupts ADDRESS: how many interrupts of a PCI function VFIO has passed on, over all vectors and processors
interrupts() {
    awk -v a="($1)" 'index($0, "vfio-msi") && index($0, a) { for (i = 2; i < NF; i++) if ($i ~ /^[0-9]+$/) n += $i }
        END { print n + 0 }' /proc/interrupts
}
