# shellcheck shell=bash
# Sourced by build and run: the parts of QEMU's command line that a saved state must find again.
# shellcheck disable=SC2034  # used there

project=$(cd "$here/../.." && pwd)
vm=$project/.cache/vm
memory=2048M
share_size=1G # of the disk that brings the files; sparse
cmdline="root=/dev/vda rw console=ttyS0 quiet loglevel=3 mitigations=off nokaslr init_on_alloc=0 audit=0 \
apparmor=1 security=apparmor cryptomgr.notests tsc=reliable no_timer_check nowatchdog random.trust_cpu=on \
systemd.show_status=no panic=-1"

qemu=(qemu-system-x86_64 -nodefaults -no-user-config -display none -monitor none -no-reboot
	-machine q35,usb=off,graphics=off,smbus=off,sata=off,memory-backend=memory -m "$memory"
	-accel tcg,thread=multi,tb-size=256 -cpu max -smp 2 -kernel "$vm/vmlinuz" -initrd "$vm/initrd"
	-device virtio-rng-pci -device virtio-blk-pci,drive=disk -device virtio-blk-pci,drive=share
	-device virtio-serial-pci
	-device virtserialport,chardev=ctl,name=vm.ctl -device virtserialport,chardev=out,name=vm.out
	-device virtserialport,chardev=err,name=vm.err -device virtserialport,chardev=rc,name=vm.rc)

# 0 when there is none.
qemu_version() { { qemu-system-x86_64 --version 2>/dev/null || echo 0; } | grep -oE '[0-9]+(\.[0-9]+)*' | head -n 1; }
