#!/bin/busybox sh
# Process 1 of the guest: loads modules, mounts a door, works on it, tells on the serial line how it went, and ends.
# Parameters come with the kernel's command line: port=, seconds=, seed=.
/bin/busybox mkdir -p /proc /sys /dev /mnt /bin
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
exec </dev/null >/dev/ttyS0 2>&1
for word in $(cat /proc/cmdline); do
  case $word in port=* | seconds=* | seed=*) export "$word" ;; esac
done
for module in $(cat /modules/order); do insmod "/modules/$module" || echo "guest: no module $module"; done
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
options=nolock,vers=3,tcp,hard,port=$port,mountport=$port,mountproto=tcp,addr=10.0.2.2
enter() { mount -t nfs -o $options 10.0.2.2:/default /mnt; }
failed=0
problem() { echo "guest: PROBLEM $1"; failed=$((failed + 1)); }

enter || { problem mount; poweroff -f; }
echo "guest: mounted"
fsx /mnt/fsx.$seed "$seed" "$seconds" &
checker=$!
start=$(cut -d. -f1 /proc/uptime)
rounds=0
while [ $(($(cut -d. -f1 /proc/uptime) - start)) -lt "$seconds" ]; do
  mkdir /mnt/tree.$seed && tar -xf /tree.tar -C /mnt/tree.$seed || problem untar
  echo 3 >/proc/sys/vm/drop_caches
  (cd /mnt/tree.$seed && sha256sum -c -s /manifest) || problem checksums
  ln -s tree /mnt/tree.$seed/link && mv /mnt/tree.$seed /mnt/moved.$seed && rm -r /mnt/moved.$seed || problem removal
  rounds=$((rounds + 1))
  echo "guest: round $rounds"
done
wait $checker || problem fsx
# Once more, to stay, and read through a new mount.
mkdir /mnt/tree && tar -xf /tree.tar -C /mnt/tree || problem untar
umount /mnt || problem umount
enter || problem mount
(cd /mnt/tree && sha256sum -c -s /manifest) || problem checksums
umount /mnt || problem umount
echo "guest: done rounds $rounds problems $failed"
poweroff -f
