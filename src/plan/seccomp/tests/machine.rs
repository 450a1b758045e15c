//! The kernel's part: calls, and an interpreter of classic BPF.

pub const X86_64: u32 = 0xc000_003e;
pub const X86: u32 = 0x4000_0003;
pub const AARCH64: u32 = 0xc000_00b7;
pub const ARM: u32 = 0x4000_0028;

#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub arch: u32,
    pub nr: u32,
    pub args: [u64; 6],
}

pub fn call(arch: u32, nr: u32, args: &[u64]) -> Call {
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    Call { arch, nr, args: all }
}

/// Runs the program as the kernel would, checking that it is one that the kernel takes.
pub fn run(program: &[u8], c: Call) -> u32 {
    steps(program, c).0
}

/// Also after how many instructions.
pub fn steps(program: &[u8], c: Call) -> (u32, usize) {
    let insns = program.as_chunks::<8>().0;
    let load = |offset: u32| match offset {
        0 => c.nr,
        4 => c.arch,
        16..64 if offset.is_multiple_of(4) => {
            let arg = c.args[(offset as usize - 16) / 8];
            let low = offset.is_multiple_of(8) == cfg!(target_endian = "little");
            if low { arg as u32 } else { (arg >> 32) as u32 }
        }
        _ => panic!("load from {offset}"),
    };
    let (mut pc, mut a, mut x, mut scratch, mut count) = (0_usize, 0_u32, 0_u32, [0_u32; 16], 0);
    loop {
        let b = insns[pc];
        let (code, jt, jf) = (u16::from_ne_bytes([b[0], b[1]]), b[2], b[3]);
        let k = u32::from_ne_bytes([b[4], b[5], b[6], b[7]]);
        pc += 1;
        count += 1;
        let mut branch = |yes: bool| pc += usize::from(if yes { jt } else { jf });
        match code {
            0x20 => a = load(k),
            0x00 => a = k,
            0x60 => a = scratch[k as usize],
            0x61 => x = scratch[k as usize],
            0x02 => scratch[k as usize] = a,
            0x54 => a &= k,
            0x07 => x = a,
            0x87 => a = x,
            0x05 => pc += k as usize,
            0x15 => branch(a == k),
            0x25 => branch(a > k),
            0x35 => branch(a >= k),
            0x45 => branch(a & k != 0),
            0x06 => return (k, count),
            _ => panic!("opcode {code:#x}"),
        }
    }
}
