//! Is this a program that could have come from here? For what was kept in a file: the kernel checks the same once more.

use super::MAX_INSTRUCTIONS;
use super::assemble::{Instruction, op};

/// Whole instructions of the kinds that we write, not too many; every jump stays inside, every way ends in an answer.
pub fn is_program(bytes: &[u8]) -> bool {
    let (code, rest) = bytes.as_chunks::<{ Instruction::SIZE }>();
    if !rest.is_empty() || code.is_empty() || code.len() > MAX_INSTRUCTIONS {
        return false;
    }
    code.iter().enumerate().all(|(at, bytes)| {
        let left = code.len() - at - 1;
        let i = Instruction::of_bytes(bytes);
        let plain = i.jt == 0 && i.jf == 0;
        match i.code {
            // Words of struct seccomp_data; the one between is half of an address.
            op::LOAD => plain && left > 0 && i.k.is_multiple_of(4) && i.k < 64,
            op::AND => plain && left > 0,
            op::JUMP => plain && (i.k as usize) < left,
            op::IF_EQUAL | op::IF_GREATER | op::IF_AT_LEAST | op::IF_ANY_BIT => {
                usize::from(i.jt.max(i.jf)) < left
            }
            op::RETURN => plain,
            _ => false,
        }
    })
}
