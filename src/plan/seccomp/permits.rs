//! What a finished program says of calls of the runtime's own.

use libseccomp::ScmpSyscall;

use super::abi;
use super::assemble::{Instruction, op};
use super::profile::ret;

/// A call to come, of this architecture.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub name: &'static str,
    /// Its first argument, where that is known.
    pub first: Option<u64>,
}

/// Does the program allow all of these, whatever those of their arguments are that are not known?
pub fn permits(program: &[u8], calls: &[Call]) -> bool {
    let code = program.as_chunks::<{ Instruction::SIZE }>().0;
    calls.iter().all(|call| {
        let number =
            ScmpSyscall::from_name(call.name).ok().and_then(|n| u32::try_from(n.as_raw_syscall()).ok());
        // What this architecture does not have cannot be called.
        number.is_none_or(|nr| matches!(answer(code, nr, call.first), Some(ret::ALLOW | ret::LOG)))
    })
}

/// `None`: it depends on what is not known.
fn answer(code: &[[u8; Instruction::SIZE]], nr: u32, first: Option<u64>) -> Option<u32> {
    let (mut at, mut a) = (0, 0);
    loop {
        let i = Instruction::of_bytes(code.get(at)?);
        at += 1;
        let holds = match i.code {
            op::IF_EQUAL => a == i.k,
            op::IF_GREATER => a > i.k,
            op::IF_AT_LEAST => a >= i.k,
            op::IF_ANY_BIT => a & i.k != 0,
            op::LOAD => {
                a = word(i.k, nr, first)?;
                continue;
            }
            op::AND => {
                a &= i.k;
                continue;
            }
            op::JUMP => {
                at += i.k as usize;
                continue;
            }
            op::RETURN => return Some(i.k),
            _ => return None,
        };
        at += usize::from(if holds { i.jt } else { i.jf });
    }
}

fn word(offset: u32, nr: u32, first: Option<u64>) -> Option<u32> {
    let (low, high) = if cfg!(target_endian = "little") { (16, 20) } else { (20, 16) };
    match offset {
        0 => Some(nr),
        4 => Some(abi::audit(abi::NATIVE)),
        o if o == low => first.map(|v| v as u32),
        o if o == high => first.map(|v| (v >> 32) as u32),
        _ => None,
    }
}
