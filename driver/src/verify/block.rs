//! What is known of one block.
//!
//! ```text
//!   word  63      40 39   24 23    4   3     2..0
//!         generation   CID  changes mixed  kind
//!   token  which command changed it last
//!   look   CRC32C of what it wrote, and when it was submitted
//! ```
//!
//! A command that changes the block counts itself among the changes before the
//! device can see it, and out of them once its completion was seen. The one
//! that was alone all the time says what the block is then; of commands that
//! overlapped nobody knows which the device did last. Each change begins a new
//! generation: a reader that finds the word as it was before its command went
//! out knows that nothing touched the block meanwhile, and that the other two
//! words belong to it (a sequence lock whose writers are the commands).

use std::sync::atomic::{AtomicU64, Ordering, fence};

use nvme::CommandId;
use zerocopy::FromZeros;

/// What a block holds, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// Anything.
    #[default]
    Unknown,
    /// What a Write put there.
    Written,
    /// Zeroes, by Write Zeroes.
    Zeroed,
    /// What a Write put there, or what deallocated blocks read as: a
    /// deallocation is a hint.
    Deallocated,
    /// Nothing that can be read, by Write Uncorrectable.
    Uncorrectable,
}

/// The first word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Word(pub(crate) u64);

const KIND: u64 = 0b111;
/// Whether changes overlapped since there was none.
const MIXED: u64 = 1 << 3;
const CHANGE: u64 = 1 << 4;
const CHANGES: u64 = 0xf_ffff << 4;
const CID_SHIFT: u32 = 24;
const CID: u64 = 0xffff << CID_SHIFT;
/// It stands at the top, so that an overflow touches nothing else.
const GENERATION: u64 = 1 << 40;

impl Word {
    pub(super) const fn kind(self) -> Kind {
        match self.0 & KIND {
            1 => Kind::Written,
            2 => Kind::Zeroed,
            3 => Kind::Deallocated,
            4 => Kind::Uncorrectable,
            _ => Kind::Unknown,
        }
    }

    pub(super) const fn is_changing(self) -> bool {
        self.0 & CHANGES != 0
    }

    pub(super) fn cid(self) -> CommandId {
        let cid = (self.0 & CID) >> CID_SHIFT;
        CommandId(u16::try_from(cid).unwrap_or(u16::MAX))
    }

    /// Whether one change is in flight, and was alone all the time.
    const fn is_alone(self) -> bool {
        self.0 & CHANGES == CHANGE && self.0 & MIXED == 0
    }

    const fn begun(self) -> Self {
        let word = self.0.wrapping_add(GENERATION);
        match self.0 & CHANGES {
            0 => Self(word + CHANGE),
            // A count that is full stays full: the block is never settled again.
            CHANGES => Self(word | MIXED),
            _ => Self((word + CHANGE) | MIXED),
        }
    }

    fn ended(self, outcome: Outcome) -> Self {
        if !self.is_changing() || self.0 & CHANGES == CHANGES {
            return self;
        }
        let word = self.0 - CHANGE;
        if word & CHANGES != 0 {
            return Self(word);
        }
        if self.0 & MIXED != 0 {
            return Self(word & !(MIXED | KIND));
        }
        let known = |kind: Kind, cid: CommandId| {
            let cid = u64::from(cid.0) << CID_SHIFT;
            Self(word & !(KIND | CID) | cid | kind as u64)
        };
        match outcome {
            Outcome::Is(kind, author) => known(kind, author.cid),
            Outcome::Deallocated(value) => match (self.kind(), value) {
                (Kind::Written | Kind::Deallocated, Some(_)) => {
                    Self(word & !KIND | Kind::Deallocated as u64)
                }
                (Kind::Zeroed, Some(0)) => Self(word),
                _ => Self(word & !KIND),
            },
            Outcome::NeverSent => Self(word),
            Outcome::Unknown => Self(word & !KIND),
        }
    }
}

/// Which command changed a block, and the CRC32C of what it wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Author {
    pub(super) token: u64,
    pub(super) crc: u32,
    pub(super) cid: CommandId,
    /// When it was submitted, milliseconds of the caller's clock.
    pub(super) submit_ms: u32,
}

/// How a change ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    /// The block is this now.
    Is(Kind, Author),
    /// It may have been deallocated, and reads as this then.
    Deallocated(Option<u8>),
    /// The device never saw the command.
    NeverSent,
    /// It failed, or was lost: nobody knows how far it got.
    Unknown,
}

/// One block.
#[derive(Debug, Default, FromZeros)]
#[repr(C)]
pub(super) struct Block {
    word: AtomicU64,
    token: AtomicU64,
    look: AtomicU64,
}

impl Block {
    /// What is known now.
    pub(super) fn word(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    /// A command that changes the block is about to be submitted.
    pub(super) fn begin(&self) {
        self.update(Word::begun);
    }

    /// That command is over.
    pub(super) fn end(&self, outcome: Outcome) {
        if let Outcome::Is(_, author) = outcome
            && self.word().is_alone()
        {
            // Ours to write: a change that begins now finds that it is not
            // alone. Between the two of the change itself there was a doorbell
            // and a completion, so that who reads this sees that it had begun.
            self.token.store(author.token, Ordering::Relaxed);
            let look = u64::from(author.crc) << 32 | u64::from(author.submit_ms);
            self.look.store(look, Ordering::Relaxed);
        }
        self.update(|word| word.ended(outcome));
    }

    /// Who made the block what it is, where the word is still `seen`, which
    /// was settled.
    pub(super) fn author(&self, seen: Word) -> Option<Author> {
        let token = self.token.load(Ordering::Relaxed);
        let look = self.look.load(Ordering::Relaxed);
        // The words above were read before the one below.
        fence(Ordering::Acquire);
        let half = |half: u64| u32::try_from(half & 0xffff_ffff).unwrap_or(0);
        (self.word.load(Ordering::Acquire) == seen.0).then(|| Author {
            token,
            crc: half(look >> 32),
            cid: seen.cid(),
            submit_ms: half(look),
        })
    }

    fn update(&self, change: impl Fn(Word) -> Word) {
        let mut word = self.word.load(Ordering::Relaxed);
        while let Err(found) = self.word.compare_exchange_weak(
            word,
            change(Word(word)).0,
            Ordering::AcqRel,
            Ordering::Relaxed,
        ) {
            word = found;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrote(token: u64) -> Outcome {
        let author = Author {
            token,
            crc: 0x1234_5678,
            cid: CommandId(0xbeef),
            submit_ms: 4711,
        };
        Outcome::Is(Kind::Written, author)
    }

    fn change(block: &Block, outcome: Outcome) -> Kind {
        block.begin();
        block.end(outcome);
        assert!(!block.word().is_changing());
        block.word().kind()
    }

    #[test]
    fn a_change_alone_says_what_the_block_is() {
        let block = Block::default();
        assert_eq!(change(&block, wrote(7)), Kind::Written);
        let seen = block.word();
        let Outcome::Is(_, expected) = wrote(7) else {
            unreachable!()
        };
        assert_eq!(block.author(seen), Some(expected));
        block.begin();
        assert_eq!(block.author(seen), None, "it changes");
        block.end(Outcome::NeverSent);
        assert_eq!(block.word().kind(), Kind::Written);
        assert_eq!(block.author(seen), None, "it might have changed");
        assert_eq!(block.author(block.word()), Some(expected));
        assert_eq!(change(&block, Outcome::Unknown), Kind::Unknown);
    }

    #[test]
    fn changes_that_overlap_leave_nothing_known_until_the_next() {
        let block = Block::default();
        block.begin();
        block.begin();
        block.end(wrote(1));
        // The first has gone, and still it was not alone.
        block.begin();
        block.end(wrote(2));
        assert!(block.word().is_changing());
        block.end(wrote(3));
        assert_eq!(block.word().kind(), Kind::Unknown);
        assert_eq!(change(&block, wrote(4)), Kind::Written);
        assert_eq!(block.author(block.word()).unwrap().token, 4);
    }

    #[test]
    fn a_deallocation_is_a_hint() {
        let block = Block::default();
        let trim = |value| change(&block, Outcome::Deallocated(value));
        assert_eq!(trim(Some(0)), Kind::Unknown, "nobody knows what was there");
        change(&block, wrote(1));
        assert_eq!(trim(Some(0)), Kind::Deallocated);
        assert_eq!(trim(Some(0)), Kind::Deallocated);
        assert_eq!(block.author(block.word()).unwrap().token, 1);
        assert_eq!(trim(None), Kind::Unknown);
        let zeroed = Outcome::Is(Kind::Zeroed, Author::default());
        assert_eq!(change(&block, zeroed), Kind::Zeroed);
        assert_eq!(trim(Some(0)), Kind::Zeroed);
        assert_eq!(trim(Some(0xff)), Kind::Unknown);
    }

    #[test]
    fn a_count_of_changes_that_is_full_stays_full() {
        let block = Block::default();
        let changes = CHANGES / CHANGE;
        for _ in 0..changes + 5 {
            block.begin();
        }
        for _ in 0..changes + 5 {
            block.end(wrote(1));
        }
        assert!(block.word().is_changing());
    }

    #[test]
    fn a_generation_that_overflows_touches_nothing_else() {
        let block = Block::default();
        block.word.store(!(GENERATION - 1), Ordering::Relaxed);
        assert_eq!(change(&block, wrote(1)), Kind::Written);
        assert_eq!(block.word().0 / GENERATION, 0);
    }
}
