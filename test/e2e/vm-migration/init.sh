#!/bin/busybox sh
# Process 1 of the guest, twice: from the initramfs it loads modules and goes on from the root disk; there it works on both
# disks until a line comes in on the serial line, tells what is on them, and ends.
export PATH=/bin
if [ -d /modules ]; then
  /bin/busybox mkdir -p /proc /sys /dev /root
  /bin/busybox --install -s /bin
  mount -t proc proc /proc
  mount -t sysfs sys /sys
  mount -t devtmpfs dev /dev
  exec </dev/null >/dev/ttyS0 2>&1
  for module in $(cat /modules/order); do insmod "/modules/$module" || echo "guest: no module $module"; done
  mount -t ext4 -o noatime /dev/vda /root || echo "guest: PROBLEM no root disk"
  for folder in proc sys dev; do mount --move /$folder /root/$folder; done
  exec switch_root /root /init
fi
exec </dev/null >/dev/ttyS0 2>&1
mount -t tmpfs run /run
seed=$(sed 's/.*seed=//; s/ .*//' /proc/cmdline)
echo "guest: runs from its disk"
disk-check file /checked $((16 << 20)) "$seed" &
on_file=$!
disk-check disk /dev/vdb $((32 << 20)) "$seed" &
on_disk=$!
(read -r line </dev/ttyS0; touch /run/stop) &
wait $on_file || echo "guest: PROBLEM file"
wait $on_disk || echo "guest: PROBLEM disk"
mount -o remount,ro / || echo "guest: PROBLEM remount"
echo 3 >/proc/sys/vm/drop_caches
for disk in vda vdb; do echo "guest: $disk is $(sha256sum </dev/$disk)"; done
echo "guest: done"
poweroff -f
