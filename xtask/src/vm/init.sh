#!/bin/busybox sh
# First process of the guest: the host's files, read only, under a writable layer on a disk of its own.
/bin/busybox mkdir -p /proc /sys /dev /low /disk /root
/bin/busybox --install -s /bin
export PATH=/bin
stop() { echo "init: $1"; poweroff -f; }
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
while read -r module; do modprobe "$module" 2>/dev/null; done </modules
options=trans=virtio,version=9p2000.L,msize=262144
mount -t 9p -o "$options,ro,cache=loose" host /low || stop "the host's files cannot be mounted"
mount -t ext4 /dev/vda /disk || stop "the disk cannot be mounted"
mkdir -p /disk/up /disk/work /disk/containers
mount -t overlay -o lowerdir=/low,upperdir=/disk/up,workdir=/disk/work over /root || stop "no overlay"
mount -t proc proc /root/proc
mount -t sysfs sysfs /root/sys
mount -t devtmpfs dev /root/dev
mkdir -p /root/dev/pts /root/dev/shm
mount -t devpts devpts /root/dev/pts
for place in dev/shm tmp run; do mount -t tmpfs tmpfs "/root/$place"; done
release=$(uname -r)
mkdir -p "/root/lib/modules/$release" /root/run/vm /root/var/lib/containers
mount --bind "/low$(cat /tree)" "/root/lib/modules/$release"
[ -e /root/sbin/modprobe ] || ln -s /bin/busybox /root/sbin/modprobe
mount -t 9p -o "$options,cache=none" out /root/run/vm || stop "the results cannot be mounted"
mount --bind /disk/containers /root/var/lib/containers
exec switch_root /root /bin/sh /run/vm/guest.sh
