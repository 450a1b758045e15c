//! Architectures: how the kernel names them, how wide their arguments are, under what numbers they have their calls.

use std::collections::HashMap;

use libseccomp::{ScmpArch, ScmpSyscall};
use oci_spec::runtime::{Arch, LinuxSeccomp};

use super::profile::ret;
use crate::error::{Error, Result};

#[cfg(target_arch = "x86_64")]
pub const NATIVE: Arch = Arch::ScmpArchX86_64;
#[cfg(target_arch = "aarch64")]
pub const NATIVE: Arch = Arch::ScmpArchAarch64;
#[cfg(target_arch = "riscv64")]
pub const NATIVE: Arch = Arch::ScmpArchRiscv64;
#[cfg(target_arch = "s390x")]
pub const NATIVE: Arch = Arch::ScmpArchS390x;
#[cfg(all(target_arch = "powerpc64", target_endian = "little"))]
pub const NATIVE: Arch = Arch::ScmpArchPpc64le;
#[cfg(target_arch = "loongarch64")]
pub const NATIVE: Arch = Arch::ScmpArchLoongarch64;

/// In the number of every x32 call, which otherwise comes as x86_64.
pub const X32_BIT: u32 = 1 << 30;

/// The profile's architectures, and the native one in any case, first: libseccomp adds it too, and Docker leaves it
/// out of some lists.
pub fn all(profile: &LinuxSeccomp) -> Result<Vec<Arch>> {
    let mut archs = vec![NATIVE];
    for (i, arch) in profile.architectures().iter().flatten().enumerate() {
        let arch = if *arch == Arch::ScmpArchNative { NATIVE } else { *arch };
        // Half of an argument would be looked for where the other half is.
        if is_little_endian(arch) != is_little_endian(NATIVE) {
            let pointer = format!("/linux/seccomp/architectures/{i}");
            let why = format!("seccomp: {arch} has the other byte order, this machine cannot run it");
            return Err(Error::spec(pointer, why));
        }
        if !archs.contains(&arch) {
            archs.push(arch);
        }
    }
    Ok(archs)
}

fn is_little_endian(arch: Arch) -> bool {
    arch as u32 & 0x4000_0000 != 0
}

/// Under which name its calls reach a filter: `AUDIT_ARCH_*`.
pub fn audit(arch: Arch) -> u32 {
    // x32 calls come as x86_64.
    (if arch == Arch::ScmpArchX32 { Arch::ScmpArchX86_64 } else { arch }) as u32
}

/// Whether arguments have 64 bits. Where they have 32, libseccomp sees the lower half of all values.
pub fn is_wide(arch: Arch) -> bool {
    arch as u32 & 0x8000_0000 != 0 && arch != Arch::ScmpArchMips64n32
}

/// setup(2) on s390: calls with large numbers come through it, and stay there when the kernel does not know them. So
/// runc says ENOSYS.
pub fn multiplexer(arch: Arch) -> Option<(u32, u32)> {
    matches!(arch, Arch::ScmpArchS390 | Arch::ScmpArchS390x).then_some((0, ret::ENOSYS))
}

/// Where an architecture has a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub number: u32,
    /// For calls that share a number: what their first argument must be.
    pub which: Option<u32>,
}

/// The calls of one architecture, by name.
pub struct Numbers {
    arch: Arch,
    scmp: ScmpArch,
    /// What socketcall(2) and ipc(2) carry, where it has a number of its own too; made when it is asked for.
    direct: Option<HashMap<String, u32>>,
}

impl Numbers {
    pub fn of(arch: Arch) -> Self {
        Self { arch, scmp: scmp_arch(arch), direct: None }
    }

    /// Where the call is: nowhere, somewhere, or at two places. The number alone, that of socketcall(2) not counted, is
    /// `newest`'s.
    pub fn places(&mut self, name: &str) -> [Option<Place>; 2] {
        let Some(n) = self.raw(name) else { return [None; 2] };
        if let Ok(number) = u32::try_from(n) {
            return [Some(Place { number, which: None }), None];
        }
        // Pseudo numbers: seccomp.h, `__PNR_*`. On most architectures these mean that there is no such call.
        let (carrier, base) = match n {
            -120..=-100 => ("socketcall", 100),
            -224..=-200 => ("ipc", 200),
            _ => return [None; 2],
        };
        if !self.carries() {
            return [None; 2];
        }
        let shared = self.raw(carrier).and_then(|n| u32::try_from(n).ok());
        [
            shared.map(|number| Place { number, which: Some((-n - base) as u32) }),
            self.direct(name).map(|number| Place { number, which: None }),
        ]
    }

    /// libseccomp's number, which may be one of its pseudo numbers.
    pub fn raw(&self, name: &str) -> Option<i32> {
        ScmpSyscall::from_name_by_arch(name, self.scmp).ok().map(|n| n.as_raw_syscall())
    }

    /// Does it have socketcall(2) and ipc(2)?
    fn carries(&self) -> bool {
        use Arch::*;
        matches!(
            self.arch,
            ScmpArchX86
                | ScmpArchMips
                | ScmpArchMipsel
                | ScmpArchPpc
                | ScmpArchPpc64
                | ScmpArchPpc64le
                | ScmpArchS390
                | ScmpArchS390x
        )
    }

    /// libseccomp tells these by number alone.
    fn direct(&mut self, name: &str) -> Option<u32> {
        let (arch, scmp) = (self.arch, self.scmp);
        let table = self.direct.get_or_insert_with(|| {
            let named = |n: u32| Some((ScmpSyscall::from(n as i32).get_name_by_arch(scmp).ok()?, n));
            match arch {
                // A lookup by number is a walk through all of libseccomp's table: where they are known to be.
                Arch::ScmpArchX86 => X86_DIRECT.into_iter().flatten().filter_map(named).collect(),
                Arch::ScmpArchMips | Arch::ScmpArchMipsel => (4000..4600).filter_map(named).collect(),
                _ => (0..600).filter_map(named).collect(),
            }
        });
        table.get(name).copied()
    }
}

/// Where x86 has the calls that socketcall(2) and ipc(2) carry, too.
const X86_DIRECT: [std::ops::Range<u32>; 4] = [337..338, 345..346, 359..374, 393..403];

pub fn scmp_arch(arch: Arch) -> ScmpArch {
    match arch {
        Arch::ScmpArchNative => ScmpArch::Native,
        Arch::ScmpArchX86 => ScmpArch::X86,
        Arch::ScmpArchX86_64 => ScmpArch::X8664,
        Arch::ScmpArchX32 => ScmpArch::X32,
        Arch::ScmpArchArm => ScmpArch::Arm,
        Arch::ScmpArchAarch64 => ScmpArch::Aarch64,
        Arch::ScmpArchMips => ScmpArch::Mips,
        Arch::ScmpArchMips64 => ScmpArch::Mips64,
        Arch::ScmpArchMips64n32 => ScmpArch::Mips64N32,
        Arch::ScmpArchMipsel => ScmpArch::Mipsel,
        Arch::ScmpArchMipsel64 => ScmpArch::Mipsel64,
        Arch::ScmpArchMipsel64n32 => ScmpArch::Mipsel64N32,
        Arch::ScmpArchPpc => ScmpArch::Ppc,
        Arch::ScmpArchPpc64 => ScmpArch::Ppc64,
        Arch::ScmpArchPpc64le => ScmpArch::Ppc64Le,
        Arch::ScmpArchS390 => ScmpArch::S390,
        Arch::ScmpArchS390x => ScmpArch::S390X,
        Arch::ScmpArchParisc => ScmpArch::Parisc,
        Arch::ScmpArchParisc64 => ScmpArch::Parisc64,
        Arch::ScmpArchRiscv64 => ScmpArch::Riscv64,
        Arch::ScmpArchLoongarch64 => ScmpArch::Loongarch64,
        Arch::ScmpArchM68k => ScmpArch::M68k,
        Arch::ScmpArchSh => ScmpArch::Sh,
        Arch::ScmpArchSheb => ScmpArch::Sheb,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x86_has_no_direct_calls_elsewhere() {
        let mut names = Numbers::of(Arch::ScmpArchX86);
        let mut found = 0;
        for n in 0..1000_u32 {
            let Ok(name) = ScmpSyscall::from(n as i32).get_name_by_arch(ScmpArch::X86) else { continue };
            if names.raw(&name).is_some_and(|raw| raw < 0) {
                found += 1;
                assert_eq!(names.direct(&name), Some(n), "{name}");
            }
        }
        assert!(found > 20, "{found}");
    }

    #[test]
    fn places() {
        let place = |number, which| Some(Place { number, which });
        let table = [
            (Arch::ScmpArchX86_64, "socket", [place(41, None), None]),
            (Arch::ScmpArchX86_64, "socketcall", [None, None]),
            (Arch::ScmpArchX32, "socket", [place(41 | X32_BIT, None), None]),
            (Arch::ScmpArchX86, "socket", [place(102, Some(1)), place(359, None)]),
            (Arch::ScmpArchX86, "socketcall", [place(102, None), None]),
            (Arch::ScmpArchX86, "semtimedop", [place(117, Some(4)), None]),
            (Arch::ScmpArchX86, "shmget", [place(117, Some(23)), place(395, None)]),
            (Arch::ScmpArchAarch64, "open", [None, None]),
            (Arch::ScmpArchMipsel, "socket", [place(4102, Some(1)), place(4183, None)]),
            (Arch::ScmpArchPpc64le, "bind", [place(102, Some(2)), place(327, None)]),
        ];
        for (arch, name, want) in table {
            assert_eq!(Numbers::of(arch).places(name), want, "{name} on {arch}");
        }
    }
}
