//! A decision as a graph: each block looks at one word of the call and goes to one of two others, or is an answer.
//! Built from its ends to its beginning; blocks that say the same are one block.

use std::collections::HashMap;

use super::order::Rule;
use super::profile::{Comparison, Op};

/// A block's index.
pub type Id = u32;

/// Offset of a word in `struct seccomp_data`.
pub type Word = u32;

pub const NR: Word = 0;
pub const ARCH: Word = 4;
const ARGUMENTS: Word = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Test {
    pub word: Word,
    pub mask: u32,
    pub is: Is,
    pub value: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Is {
    Equal,
    Greater,
    AtLeast,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Block {
    Answer(u32),
    /// Where to go if it holds, and where if not.
    Test(Test, Id, Id),
}

/// A test, and what came of it.
type Fact = (Test, bool);

#[derive(Default)]
pub struct Blocks {
    all: Vec<Block>,
    ids: HashMap<Block, Id>,
}

impl Blocks {
    pub fn get(&self, id: Id) -> Block {
        // Ids are made here only; what is not there kills.
        self.all.get(id as usize).copied().unwrap_or(Block::Answer(super::profile::ret::KILL_THREAD))
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn answer(&mut self, value: u32) -> Id {
        self.add(Block::Answer(value))
    }

    fn add(&mut self, block: Block) -> Id {
        *self.ids.entry(block).or_insert_with(|| {
            self.all.push(block);
            (self.all.len() - 1) as Id
        })
    }

    pub fn test(&mut self, test: Test, yes: Id, no: Id) -> Id {
        self.test_knowing(&mut Vec::new(), test, yes, no)
    }

    /// `facts`: what is known where this test is reached.
    fn test_knowing(&mut self, facts: &mut Vec<Fact>, test: Test, yes: Id, no: Id) -> Id {
        let mut then = |outcome, target| {
            facts.push((test, outcome));
            let id = self.skip(facts, target);
            facts.pop();
            id
        };
        let (yes, no) = (then(true, yes), then(false, no));
        match outcome(facts, test) {
            Some(true) => yes,
            Some(false) => no,
            None if yes == no => yes,
            None => self.add(Block::Test(test, yes, no)),
        }
    }

    /// Past the tests whose outcome is known.
    fn skip(&self, facts: &[Fact], mut id: Id) -> Id {
        while let Block::Test(test, yes, no) = self.get(id) {
            match outcome(facts, test) {
                Some(true) => id = yes,
                Some(false) => id = no,
                None => break,
            }
        }
        id
    }

    /// The answer of the first rule that holds, or what `otherwise` says.
    pub fn first_of(&mut self, rules: &[Rule], wide: bool, otherwise: Id) -> Id {
        rules.iter().rev().fold(otherwise, |next, rule| {
            let hit = self.answer(rule.answer);
            self.all_of(&rule.conditions, wide, &mut Vec::new(), hit, next)
        })
    }

    fn all_of(
        &mut self,
        conditions: &[Comparison],
        wide: bool,
        facts: &mut Vec<Fact>,
        hit: Id,
        miss: Id,
    ) -> Id {
        let Some((condition, rest)) = conditions.split_first() else {
            return self.skip(facts, hit);
        };
        let known = facts.len();
        // Of a limit nothing is known where it holds: it holds in two ways.
        if let Some(fact) = equality(condition, wide) {
            facts.extend(fact.into_iter().flatten());
        }
        let hit = self.all_of(rest, wide, facts, hit, miss);
        facts.truncate(known);
        self.compare(condition, wide, facts, hit, miss)
    }

    fn compare(&mut self, c: &Comparison, wide: bool, facts: &mut Vec<Fact>, hit: Id, miss: Id) -> Id {
        let (yes, no) = match c.op {
            Op::NotEqual | Op::Less | Op::LessOrEqual => (miss, hit),
            _ => (hit, miss),
        };
        let [low, high] = words(c.argument);
        let of = |word, is, mask: u64, value: u64| {
            let half = |v: u64| if word == high { (v >> 32) as u32 } else { v as u32 };
            Test { word, mask: half(mask), is, value: half(value) }
        };
        let last = match c.op {
            Op::Equal | Op::NotEqual | Op::MaskedEqual => Is::Equal,
            Op::Less | Op::GreaterOrEqual => Is::AtLeast,
            Op::LessOrEqual | Op::Greater => Is::Greater,
        };
        let low = of(low, last, c.mask, c.value);
        if !wide {
            return self.test_knowing(facts, low, yes, no);
        }
        let equal = of(high, Is::Equal, c.mask, c.value);
        facts.push((equal, true));
        let deeper = self.test_knowing(facts, low, yes, no);
        facts.pop();
        if last == Is::Equal {
            return self.test_knowing(facts, equal, deeper, no);
        }
        let above = of(high, Is::Greater, c.mask, c.value);
        if equal.value == 0 {
            // Not above 0 is 0.
            return self.test_knowing(facts, equal, deeper, yes);
        }
        facts.push((above, false));
        let not_above = self.test_knowing(facts, equal, deeper, no);
        facts.pop();
        self.test_knowing(facts, above, yes, not_above)
    }
}

/// What is known of the halves of an argument that equals something.
fn equality(c: &Comparison, wide: bool) -> Option<[Option<Fact>; 2]> {
    let [low, high] = words(c.argument);
    let fact = |word, mask, value| (Test { word, mask, is: Is::Equal, value }, true);
    matches!(c.op, Op::Equal | Op::MaskedEqual).then(|| {
        [
            Some(fact(low, c.mask as u32, c.value as u32)),
            wide.then(|| fact(high, (c.mask >> 32) as u32, (c.value >> 32) as u32)),
        ]
    })
}

/// The halves of an argument: the lower, the upper.
fn words(argument: u32) -> [Word; 2] {
    let first = ARGUMENTS + argument * 8;
    if cfg!(target_endian = "little") { [first, first + 4] } else { [first + 4, first] }
}

/// What a test must come to, after these.
fn outcome(facts: &[Fact], test: Test) -> Option<bool> {
    if let Some((_, outcome)) = facts.iter().find(|(t, _)| *t == test) {
        return Some(*outcome);
    }
    if test.mask != u32::MAX {
        if let Some(v) = exactly(facts, test.word) {
            return Some(v & test.mask == test.value);
        }
        // No bit is looked at, or one that must be there is not.
        return (test.mask & test.value != test.value)
            .then_some(false)
            .or((test.mask == 0).then_some(test.value == 0));
    }
    let (min, max) = range(facts, test.word);
    match test.is {
        Is::Equal if test.value < min || test.value > max => Some(false),
        Is::Equal => (min == max).then_some(true),
        Is::Greater if min > test.value => Some(true),
        Is::Greater => (max <= test.value).then_some(false),
        Is::AtLeast if min >= test.value => Some(true),
        Is::AtLeast => (max < test.value).then_some(false),
    }
}

fn exactly(facts: &[Fact], word: Word) -> Option<u32> {
    let (min, max) = range(facts, word);
    (min == max).then_some(min)
}

/// The least and the greatest value that a word can have.
fn range(facts: &[Fact], word: Word) -> (u32, u32) {
    let about = facts.iter().filter(|(t, _)| t.word == word && t.mask == u32::MAX);
    about.fold((0, u32::MAX), |(min, max), (test, holds)| match (test.is, holds) {
        (Is::Equal, true) => (min.max(test.value), max.min(test.value)),
        (Is::Equal, false) => (min, max),
        (Is::Greater, true) => (min.max(test.value.saturating_add(1)), max),
        (Is::Greater, false) => (min, max.min(test.value)),
        (Is::AtLeast, true) => (min.max(test.value), max),
        (Is::AtLeast, false) => (min, max.min(test.value.saturating_sub(1))),
    })
}
