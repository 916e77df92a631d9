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

# join_wire NUMBER: this guest's addresses on the wire to the other guest, 10.0.0.NUMBER and fd00::NUMBER. What
# the kernel said before is forgotten: it says much at boot
join_wire() {
    dmesg -C
    modprobe virtio_net
    ip link set eth0 mtu 4200 up
    ip address add 10.0.0.$1/24 dev eth0
    ip address add fd00::$1/64 dev eth0 nodad
}

# rxe DEVICE: the kernel's soft RoCE on a network device, and librdmacm's way to it. Not beside our own: both want UDP
# port 4791
rxe() {
    modprobe rdma_rxe
    modprobe rdma_ucm
    rdma link add rxe0 type rxe netdev "$1"
    for look in 1 2 3 4 5 6 7 8 9 10; do
        ibv_devinfo -d rxe0 | grep -q PORT_ACTIVE && return 0
        usleep 100000
    done
    echo "rxe0 on $1 does not come up"
    return 1
}

# rxe_alone: the same on a network device that leads nowhere, for what runs in one guest: 10.0.0.1 and fd00::1
rxe_alone() {
    modprobe dummy numdummies=0
    ip link add dummy0 type dummy
    ip link set dummy0 mtu 4200 up
    ip address add 10.0.0.1/24 dev dummy0
    ip address add fd00::1/64 dev dummy0 nodad
    rxe dummy0
}

# lose PERCENT: of the packets that come to this guest so many get lost from here on, one by one; 0 ends it. Not those that it
# sends: to the queue of a sender, a batch of packets is one
lose() {
    if [ ! -e /sys/class/net/ifb0 ]; then
        modprobe -a sch_netem sch_ingress cls_matchall act_mirred
        modprobe ifb numifbs=1
        ip link set ifb0 up
        tc qdisc add dev eth0 handle ffff: ingress
        tc filter add dev eth0 parent ffff: matchall action mirred egress redirect dev ifb0
    fi
    tc qdisc replace dev ifb0 root netem limit 10000 loss "$1%"
}

# lost: how many of them were, so far
lost() {
    tc -s qdisc show dev ifb0 | awk '/dropped/ { sub(",", "", $7); print $7 }'
}

# listening PORT: waits until somebody listens there, by the kernel's RDMA or by TCP
listening() {
    looks=0
    while [ $looks -lt 300 ]; do
        rdma resource show cm_id | grep -q "LISTEN.*:$1 " && return 0
        netstat -ltn | grep -q ":$1 " && return 0
        looks=$((looks + 1))
        usleep 100000
    done
    echo "nobody listens on port $1"
    return 1
}

# connected PORT: waits until the kernel's RDMA has a connection to or from a port
connected() {
    looks=0
    while [ $looks -lt 300 ]; do
        rdma resource show cm_id | grep -q "state CONNECT.*:$1 " && return 0
        looks=$((looks + 1))
        usleep 100000
    done
    echo "nobody is connected to port $1"
    return 1
}

# rping_to ADDRESS COUNT BYTES: pings by the kernel's RDMA, and every byte must come back right. rping's exit status does
# not tell: at its end one of its threads may read the descriptor that the other has closed
rping_to() {
    rping -c -a "$1" -C "$2" -S "$3" -v -V >/tmp/rping.out 2>&1 || echo "rping ended with $?"
    cut -c 1-80 /tmp/rping.out
    [ "$(grep -c '^ping data: rdma-ping-' /tmp/rping.out)" = "$2" ] || { echo "not $2 pings came back"; return 1; }
    ! grep 'mismatch' /tmp/rping.out
}
