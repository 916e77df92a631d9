# The guest's process 1 once its root file system is there. Sets up what a system sets up, then does as the host says:
# each line on the second serial port is the number of a script in /lab/run; its end is told there with its status.
mount() { /bin/busybox mount "$@"; }
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs -o mode=0755 run /run
mount -t tmpfs -o mode=1777 tmp /tmp
/bin/busybox mkdir -p /run/applets /dev/pts /dev/shm /dev/hugepages
mount -t devpts pts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
/bin/busybox --install -s /run/applets
export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/run/applets HOME=/root
[ -e /bin/sh ] || ln -s dash /bin/sh
mkdir -p /root /home/somebody /usr/local/bin
printf 'root:x:0:0::/root:/bin/sh\nsomebody:x:1000:1000::/home/somebody:/bin/sh\n' >/etc/passwd
printf 'root:x:0:\nsomebody:x:1000:\n' >/etc/group
chown 1000:1000 /home/somebody
hostname lab
ip link set lo up
# Run from memory: over 9p, the emulated processor would spend its time on page faults.
cp /lab/bin/* /usr/local/bin/

# A guest whose lab was killed must not live on: nobody needs one for longer than this.
lifetime_s=7200
(sleep $lifetime_s; poweroff -f) &

exec 3<>/dev/ttyS1
stty raw -echo <&3
echo ready >&3
while read -r number <&3; do
    (
        sh -eu -c '. /lab/guest/lib.sh; . /lab/guest/nvmf.sh; . "$1"' sh /lab/run/$number.sh >/lab/run/$number.out 2>&1 </dev/null 3<&-
        echo "done $number $?" >&3
    ) &
done
