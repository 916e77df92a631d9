#!/bin/busybox sh
# The guest's first program, in the initramfs: finds the root file system and the lab's directory, and hands over.
bb=/bin/busybox
$bb mount -t devtmpfs dev /dev
$bb mount -t proc proc /proc
for module in $($bb cat /modules/order); do
    $bb insmod /modules/$module || $bb echo "init: module $module cannot be loaded"
done
looks=0
while [ ! -b /dev/vda ] && [ $looks -lt 100 ]; do
    $bb usleep 50000
    looks=$((looks + 1))
done
$bb mount -t squashfs -o ro /dev/vda /lower
$bb mount -t tmpfs -o mode=0755 tmpfs /upper
$bb mkdir /upper/upper /upper/work
$bb mount -t overlay -o lowerdir=/lower,upperdir=/upper/upper,workdir=/upper/work overlay /root
$bb mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=none,access=any lab /root/lab
$bb umount /proc
exec $bb switch_root /root /bin/dash /lab/guest/start.sh
