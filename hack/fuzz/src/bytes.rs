//! Values made of the fuzzer's bytes, and chance for the replay. Where the bytes end, everything is zero.

pub struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn u8(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(std::array::from_fn(|_| self.u8()))
    }

    /// Small numbers and the ends of ranges come more often than chance has them.
    pub fn u64(&mut self) -> u64 {
        let n = self.u8();
        match n {
            0..128 => u64::from(n),
            128..192 => u64::from(self.u32()),
            192..224 => 1_u64.rotate_left(u32::from(n)).wrapping_sub(u64::from(n % 2)),
            _ => u64::from(self.u32()) << 32 | u64::from(self.u32()),
        }
    }

    pub fn below(&mut self, end: usize) -> usize {
        usize::from(self.u8()) % end.max(1)
    }

    pub fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    pub fn flag(&mut self) -> bool {
        self.u8() & 1 == 1
    }
}

/// xorshift64*: the same numbers each time.
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.number() >> 33) as usize % end.max(1)
    }

    /// A few changes of bytes: flipped, set, inserted, removed, repeated, or words of the dictionary put in.
    pub fn mutate(&mut self, data: &mut Vec<u8>, words: &[Vec<u8>]) {
        for _ in 0..=self.below(4) {
            let at = self.below(data.len() + 1);
            match self.below(7) {
                0 if at < data.len() => data[at] ^= 1 << self.below(8),
                1 if at < data.len() => data[at] = self.number() as u8,
                2 => data.insert(at, self.number() as u8),
                3 if at < data.len() => {
                    let end = data.len().min(at + 1 + self.below(8));
                    data.drain(at..end);
                }
                4 if at < data.len() => {
                    let end = data.len().min(at + 1 + self.below(32));
                    let piece = data[at..end].to_vec();
                    let to = self.below(data.len() + 1);
                    data.splice(to..to, piece);
                }
                5 => data.truncate(at),
                _ if !words.is_empty() => {
                    let word = words[self.below(words.len())].clone();
                    data.splice(at..at, word);
                }
                _ => {}
            }
        }
    }
}
