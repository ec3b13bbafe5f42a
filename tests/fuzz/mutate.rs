//! Mutations: a seed with a few bytes or words changed, the same in every run.

/// Words that readers of JSON, streams, YAML and HTTP look for, and values at the edges.
const WORDS: [&[u8]; 40] = [
    b"\"",
    b"\\",
    b"\\u",
    b"\\ud83d\\ude00",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"null",
    b"true",
    b"-1",
    b"0",
    b"1e400",
    b"18446744073709551615",
    b"9223372036854775808",
    b"0.000000000000001",
    b"\n",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"\r\n\r\n",
    b"data: ",
    b"event: ",
    b"\xEF\xBB\xBF",
    b"\xFF",
    b"\0",
    b"\xF0\x9F\x98\x80",
    b"  - ",
    b"&a *a",
    b"? ",
    b"|",
    b"content-length: ",
    b"transfer-encoding: chunked",
    b"\"usage\":",
    b"\"model\":",
    b"\"max_tokens\":",
    b"$",
];

pub struct Mutations<'s> {
    seeds: &'s [Vec<u8>],
    state: u64,
}

impl<'s> Mutations<'s> {
    /// `name` keeps the rolls of one target from being those of another.
    pub fn of(seeds: &'s [Vec<u8>], name: &str) -> Mutations<'s> {
        Mutations { seeds, state: 0x2545_F491_4F6C_DD1D ^ u64::from(crc32fast::hash(name.as_bytes())) }
    }

    pub fn next(&mut self, bytes_max: usize) -> Vec<u8> {
        let mut input = self.seeds[self.below(self.seeds.len())].clone();
        for _ in 0..=self.below(4) {
            self.change(&mut input);
        }
        input.truncate(bytes_max);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        let end = (at + 1 + self.below(24)).min(input.len());
        match self.below(8) {
            0 => input.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (at % 8)),
            1 => input.insert(at, self.below(256) as u8),
            2 => drop(input.drain(at..end)),
            3 => {
                let again = input[at..end].to_vec();
                input.splice(at..at, again);
            }
            4 => input.truncate(at),
            5 => {
                let other = &self.seeds[self.below(self.seeds.len())];
                let from = self.below(other.len() + 1);
                input.splice(at.., other[from..].iter().copied());
            }
            // The first two bytes choose the variant and the pieces.
            6 if input.len() > 1 => input[at % 2] = self.below(256) as u8,
            _ => {
                let word = WORDS[self.below(WORDS.len())];
                input.splice(at..end.min(at + self.below(3)), word.iter().copied());
            }
        }
    }

    /// xorshift.
    fn below(&mut self, bound: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state % bound.max(1) as u64) as usize
    }
}
