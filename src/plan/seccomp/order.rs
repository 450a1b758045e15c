//! Several rules for one call: which of them answers.
//!
//! The specification does not say, so it is as libseccomp means it: a rule without conditions makes all others void, and
//! of two such the first counts. Of the others the most specific is asked first: rules about later arguments before those
//! about earlier ones; for one argument what it equals before how large it may be before how small, and tighter limits
//! before wider ones. The first rule that holds answers.
//!
//! libseccomp builds a tree, of comparisons of halves of arguments, and so does this room, to find the same order in it.
//! It does not lose what libseccomp 2.5.4 loses: rules that reach a node of the tree at which another one has ended, and
//! of several limits with one upper half all but one.

use super::profile::{Comparison, Op};

/// Of one call, on one architecture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// All must hold; in order of their arguments.
    pub conditions: Vec<Comparison>,
    pub answer: u32,
    /// Index into the profile's `syscalls`.
    pub position: usize,
}

/// Of a call that shares its number: its kind stands in the first argument, in the place of the call's own.
pub fn ask_which(conditions: &mut Vec<Comparison>, which: u32) {
    conditions.retain(|c| c.argument != 0);
    let kind = Comparison { argument: 0, op: Op::Equal, mask: u64::MAX, value: which.into() };
    conditions.insert(0, kind);
}

/// What a call gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Always(u32),
    /// The first that holds answers, else the default.
    Depends(Vec<Rule>),
}

/// Two rules with the same conditions, or a later one that takes all that an earlier one says, and different answers:
/// indices into the profile's `syscalls`.
#[derive(Debug, PartialEq, Eq)]
pub struct Contradiction(pub usize, pub usize);

/// `rules`: as the profile has them, their conditions as they are [`seen`].
pub fn decide(rules: Vec<Rule>, wide: bool) -> Result<Verdict, Contradiction> {
    if let Some(rule) = rules.iter().find(|r| r.conditions.is_empty()) {
        return Ok(Verdict::Always(rule.answer));
    }
    let mut ordered = Vec::with_capacity(rules.len());
    let chains = rules.into_iter().enumerate().map(|(i, rule)| Chain::of(i, rule, wide)).collect();
    arrange(chains, 0, &mut ordered)?;
    Ok(Verdict::Depends(ordered))
}

/// The conditions as an architecture sees them: without the upper half where arguments have none, and without those
/// that hold for every value.
pub fn seen(mut conditions: Vec<Comparison>, wide: bool) -> Vec<Comparison> {
    for c in &mut conditions {
        let half = |v: u64| if wide { v } else { v & u64::from(u32::MAX) };
        (c.mask, c.value) = (half(c.mask), half(c.value));
    }
    conditions.retain(|c| c.mask != 0);
    conditions
}

/// A comparison of a half of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Node {
    /// Which half of which argument: the later the greater.
    word: u32,
    test: Test,
    mask: u32,
    value: u32,
    rank: Rank,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Equal,
    Masked,
    Greater,
    GreaterOrEqual,
}

/// The kind of condition that a node is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    AtLeast,
    AtMost,
    Equal,
}

impl Node {
    fn is_same(&self, other: &Self) -> bool {
        (self.word, self.test, self.mask, self.value) == (other.word, other.test, other.mask, other.value)
    }

    /// Nodes with one key stay in the order in which they came.
    fn goes_before(&self, other: &Self) -> bool {
        let key = |n: &Self| (n.word, n.rank, if n.rank == Rank::AtMost { !n.value } else { n.value });
        key(self) > key(other)
    }
}

struct Chain {
    rule: Rule,
    age: usize,
    nodes: Vec<Node>,
}

impl Chain {
    fn of(age: usize, rule: Rule, wide: bool) -> Self {
        let mut nodes = Vec::with_capacity(rule.conditions.len() * 3);
        for c in &rule.conditions {
            let rank = match c.op {
                Op::Equal | Op::NotEqual | Op::MaskedEqual => Rank::Equal,
                Op::Less | Op::LessOrEqual => Rank::AtMost,
                Op::Greater | Op::GreaterOrEqual => Rank::AtLeast,
            };
            let test = match c.op {
                Op::Equal | Op::NotEqual => Test::Equal,
                Op::MaskedEqual => Test::Masked,
                Op::Less | Op::GreaterOrEqual => Test::GreaterOrEqual,
                Op::LessOrEqual | Op::Greater => Test::Greater,
            };
            let half = |high: bool, test: Test| {
                let of = |v: u64| if high { (v >> 32) as u32 } else { v as u32 };
                Node {
                    word: c.argument * 2 + u32::from(high),
                    test,
                    mask: of(c.mask),
                    value: of(c.value),
                    rank,
                }
            };
            if wide {
                if rank != Rank::Equal {
                    nodes.push(half(true, Test::Greater));
                    nodes.push(half(true, Test::Equal));
                } else {
                    nodes.push(half(true, test));
                }
            }
            nodes.push(half(false, test));
        }
        Self { rule, age, nodes }
    }
}

/// Appends the rules of a level of the tree in its order. All have the same nodes up to `depth`.
fn arrange(chains: Vec<Chain>, depth: usize, ordered: &mut Vec<Rule>) -> Result<(), Contradiction> {
    // A level: its nodes in order, each with the rules that go on from it.
    let mut level: Vec<(Node, Vec<Chain>)> = Vec::new();
    let mut ended: Vec<Chain> = Vec::new();
    for chain in chains {
        let Some(node) = chain.nodes.get(depth).copied() else {
            ended.push(chain);
            continue;
        };
        let place = level.iter().position(|(n, _)| n.is_same(&node) || node.goes_before(n));
        match place {
            Some(i) if level[i].0.is_same(&node) => level[i].1.push(chain),
            Some(i) => level.insert(i, (node, vec![chain])),
            None => level.push((node, vec![chain])),
        }
    }
    // A rule that says no more than the way here takes all that goes on in the same direction.
    for chain in ended {
        let same = |r: &&Rule| is_prefix(&r.conditions, &chain.rule.conditions);
        match ordered.iter().find(same) {
            Some(r) if r.answer != chain.rule.answer => {
                return Err(Contradiction(r.position, chain.rule.position));
            }
            Some(_) => continue,
            None => {}
        }
        for (_, further) in &mut level {
            let mut contradicted = None;
            further.retain(|f| {
                let taken = is_prefix(&chain.rule.conditions, &f.rule.conditions);
                if taken && f.age < chain.age && f.rule.answer != chain.rule.answer {
                    contradicted.get_or_insert(f.rule.position);
                }
                !taken
            });
            if let Some(position) = contradicted {
                return Err(Contradiction(position, chain.rule.position));
            }
        }
        ordered.push(chain.rule);
    }
    level.into_iter().try_for_each(|(_, chains)| arrange(chains, depth + 1, ordered))
}

fn is_prefix(short: &[Comparison], long: &[Comparison]) -> bool {
    long.starts_with(short)
}
