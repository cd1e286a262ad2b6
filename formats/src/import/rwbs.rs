//! The letters by which Linux tells what a request is.

use crate::Operation;

/// What the letters of a request say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Letters {
    pub(crate) operation: Operation,
    /// A flush goes before it.
    pub(crate) preflush: bool,
    pub(crate) fua: bool,
}

impl Letters {
    /// `rwbs`, as the kernel writes it, of a request of `sectors`; none where
    /// it is an operation that traces do not have.
    pub(crate) fn of(rwbs: &str, sectors: u64) -> Option<Self> {
        // F, where a flush goes before; the operation; F, where it is to force
        // unit access; and more.
        let starts_with_operation = |rest: &str| rest.starts_with(['W', 'R', 'D', 'F', 'N']);
        let after = rwbs
            .strip_prefix('F')
            .filter(|it| starts_with_operation(it));
        let (preflush, rest) = match after {
            Some(rest) => (true, rest),
            None => (false, rwbs),
        };
        let (operation, rest) = if let Some(rest) = rest.strip_prefix("WZ") {
            (Operation::WriteZeroes, rest)
        } else if let Some(rest) = rest.strip_prefix("DE").or_else(|| rest.strip_prefix('D')) {
            (Operation::Discard, rest)
        } else if let Some(rest) = rest.strip_prefix('W') {
            (Operation::Write, rest)
        } else if let Some(rest) = rest.strip_prefix('R') {
            (Operation::Read, rest)
        } else if let Some(rest) = rest.strip_prefix('N').filter(|_| preflush && sectors == 0) {
            // As blkparse has it.
            (Operation::Flush, rest)
        } else {
            (Operation::Flush, rest.strip_prefix('F')?)
        };
        let operation = if preflush && operation == Operation::Write && sectors == 0 {
            Operation::Flush
        } else {
            operation
        };
        Some(Self {
            operation,
            preflush,
            fua: rest.contains('F') && operation != Operation::Flush,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Letters;
    use crate::Operation;

    #[test]
    fn letters_are_told_apart_by_their_places() {
        let of = |text, sectors| {
            Letters::of(text, sectors).map(|it| (it.operation, it.preflush, it.fua))
        };
        assert_eq!(of("R", 8), Some((Operation::Read, false, false)));
        assert_eq!(of("RA", 8), Some((Operation::Read, false, false)));
        assert_eq!(of("WFS", 8), Some((Operation::Write, false, true)));
        assert_eq!(of("FWFSM", 8), Some((Operation::Write, true, true)));
        assert_eq!(of("FWS", 0), Some((Operation::Flush, true, false)));
        assert_eq!(of("FF", 0), Some((Operation::Flush, true, false)));
        assert_eq!(of("FN", 0), Some((Operation::Flush, true, false)));
        assert_eq!(of("F", 0), Some((Operation::Flush, false, false)));
        assert_eq!(of("FS", 0), Some((Operation::Flush, false, false)));
        assert_eq!(of("DS", 8), Some((Operation::Discard, false, false)));
        assert_eq!(of("DE", 8), Some((Operation::Discard, false, false)));
        assert_eq!(of("WZS", 8), Some((Operation::WriteZeroes, false, false)));
        for none in ["N", "ZA", "ZR", "", "?"] {
            assert_eq!(of(none, 8), None, "{none}");
        }
    }
}
