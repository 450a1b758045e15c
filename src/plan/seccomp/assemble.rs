//! From a graph of blocks to instructions of classic BPF.
//!
//! Written from the last instruction to the first: jumps go forward only, so all targets have their place already. What
//! is too far for a jump's eight bits is repeated near by, if it is an answer, or reached by a longer jump.

use std::collections::HashMap;

use super::blocks::{Block, Blocks, Id, Is, Test, Word};

/// `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub code: u16,
    pub jt: u8,
    pub jf: u8,
    pub k: u32,
}

impl Instruction {
    pub const SIZE: usize = 8;

    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let ([a, b], [c, d, e, f]) = (self.code.to_ne_bytes(), self.k.to_ne_bytes());
        [a, b, self.jt, self.jf, c, d, e, f]
    }

    pub fn of_bytes(&[a, b, jt, jf, c, d, e, f]: &[u8; Self::SIZE]) -> Self {
        Self { code: u16::from_ne_bytes([a, b]), jt, jf, k: u32::from_ne_bytes([c, d, e, f]) }
    }
}

/// The few opcodes that programs are made of; linux/bpf_common.h.
pub mod op {
    pub const LOAD: u16 = 0x20;
    pub const AND: u16 = 0x54;
    pub const JUMP: u16 = 0x05;
    pub const IF_EQUAL: u16 = 0x15;
    pub const IF_GREATER: u16 = 0x25;
    pub const IF_AT_LEAST: u16 = 0x35;
    pub const IF_ANY_BIT: u16 = 0x45;
    pub const RETURN: u16 = 0x06;
}

/// Nearer than 255 by what a block of its own and the detours of its other target may put between.
const NEAR: usize = 250;

/// The program that begins at `root`. `None`: it would need more than `limit` instructions.
pub fn assemble(blocks: &Blocks, root: Id, limit: usize) -> Option<Vec<Instruction>> {
    let order = children_first(blocks, root, limit)?;
    let held = held(blocks, root, &order);
    let mut writer = Writer { blocks, backward: Vec::with_capacity(order.len() * 2), places: HashMap::new() };
    for id in &order {
        if let Block::Test(test, yes, no) = blocks.get(*id) {
            writer.block(*id, test, yes, no, held.get(id).copied().flatten());
        }
        if writer.backward.len() > limit {
            return None;
        }
    }
    if let Block::Answer(value) = blocks.get(root) {
        writer.put(op::RETURN, value);
    }
    writer.backward.reverse();
    Some(writer.backward)
}

/// All blocks that can be reached, each after those it leads to, and what follows when a test holds nearest to it.
fn children_first(blocks: &Blocks, root: Id, limit: usize) -> Option<Vec<Id>> {
    let mut order = Vec::new();
    let mut seen = vec![false; blocks.len()];
    let mut stack = vec![(root, false)];
    while let Some((id, done)) = stack.pop() {
        if done {
            order.push(id);
            if order.len() > limit {
                return None;
            }
            continue;
        }
        match seen.get_mut(id as usize) {
            Some(seen) if !*seen => *seen = true,
            _ => continue,
        }
        stack.push((id, true));
        if let Block::Test(_, yes, no) = blocks.get(id) {
            stack.push((yes, false));
            stack.push((no, false));
        }
    }
    Some(order)
}

/// What the accumulator holds: a word, and what was masked out of it.
type Held = (Word, u32);

/// What it holds where each test begins, if that is the same on all ways there.
fn held(blocks: &Blocks, root: Id, order: &[Id]) -> HashMap<Id, Option<Held>> {
    let mut at = HashMap::with_capacity(order.len());
    at.insert(root, None);
    for id in order.iter().rev() {
        let Block::Test(test, yes, no) = blocks.get(*id) else { continue };
        let after = Some((test.word, if shape(test).masks { test.mask } else { u32::MAX }));
        for next in [yes, no] {
            at.entry(next).and_modify(|h| *h = h.filter(|h| Some(*h) == after)).or_insert(after);
        }
    }
    at
}

/// How a test is made.
struct Shape {
    /// The mask is applied to the accumulator first.
    masks: bool,
    code: u16,
    k: u32,
    /// The jump asks for the opposite.
    turned: bool,
}

fn shape(test: Test) -> Shape {
    let code = match test.is {
        Is::Equal => op::IF_EQUAL,
        Is::Greater => op::IF_GREATER,
        Is::AtLeast => op::IF_AT_LEAST,
    };
    let any_bit = |turned| Shape { masks: false, code: op::IF_ANY_BIT, k: test.mask, turned };
    match test {
        Test { mask: u32::MAX, .. } => Shape { masks: false, code, k: test.value, turned: false },
        Test { is: Is::Equal, value: 0, .. } => any_bit(true),
        Test { is: Is::Equal, mask, value, .. } if mask == value && mask.is_power_of_two() => any_bit(false),
        _ => Shape { masks: true, code, k: test.value, turned: false },
    }
}

struct Writer<'a> {
    blocks: &'a Blocks,
    /// The program from its end; an index here is the distance from there.
    backward: Vec<Instruction>,
    /// Where a block, or what leads to it, was put last.
    places: HashMap<Id, usize>,
}

impl Writer<'_> {
    fn put(&mut self, code: u16, k: u32) {
        self.backward.push(Instruction { code, jt: 0, jf: 0, k });
    }

    fn block(&mut self, id: Id, test: Test, yes: Id, no: Id, held: Option<Held>) {
        let shape = shape(test);
        self.bring_near(no);
        self.bring_near(yes);
        let (yes, no) = (self.skip_to(yes), self.skip_to(no));
        let (jt, jf) = if shape.turned { (no, yes) } else { (yes, no) };
        self.backward.push(Instruction { code: shape.code, jt, jf, k: shape.k });
        let wanted = (test.word, if shape.masks { test.mask } else { u32::MAX });
        if held != Some(wanted) {
            if shape.masks {
                self.put(op::AND, test.mask);
            }
            if held != Some((test.word, u32::MAX)) {
                self.put(op::LOAD, test.word);
            }
        }
        self.places.insert(id, self.backward.len() - 1);
    }

    /// So that a jump reaches it.
    fn bring_near(&mut self, id: Id) {
        let here = self.backward.len();
        let place = self.places.get(&id).copied();
        if place.is_some_and(|p| here - p <= NEAR) {
            return;
        }
        match (self.blocks.get(id), place) {
            (Block::Answer(value), _) => self.put(op::RETURN, value),
            // A jump at `here` to `p` leaves out what is between.
            (_, Some(p)) => self.put(op::JUMP, (here - p - 1) as u32),
            // Not reached: targets are written before what leads to them.
            (_, None) => self.put(op::RETURN, super::profile::ret::KILL_THREAD),
        }
        self.places.insert(id, here);
    }

    /// What a jump that is written next leaves out.
    fn skip_to(&self, id: Id) -> u8 {
        let place = self.places.get(&id).copied().unwrap_or_default();
        u8::try_from(self.backward.len() - place - 1).unwrap_or(u8::MAX)
    }
}
