//! What fuzzers call: takes any bytes and panics where the crate does what it
//! must not.
//!
//! The targets themselves stand in `fuzz/`; their corpora are replayed by the
//! tests of this module, without a fuzzer.

use crate::format::{
    BLOCK_HEADER_BYTES, BLOCK_MAGIC, HEADER_FIXED_BYTES, INDEX_FIXED_BYTES, INDEX_MAGIC,
};
use crate::stats::Stats;
use crate::{Reader, Record, Writer, WriterOptions, pack};

/// A trace, damaged or forged. The first byte says whether its checksums are to
/// be made right, so that what is behind them is reached; the rest is the file.
///
/// # Panics
///
/// Where a part that opens cannot be salvaged, or where what was salvaged is not
/// whole.
pub fn vtr(data: &[u8]) {
    let Some((&mending, file)) = data.split_first() else {
        return;
    };
    let mut file = file.to_vec();
    if mending & 1 == 1 {
        mend(&mut file);
    }
    let read = Reader::from_bytes(file.clone()).map(|reader| {
        let whole = reader.blocks().filter(Result::is_ok).count();
        if reader.index().len() == whole {
            let _ = reader.summary();
            let _ = Stats::of(&reader, |_| ());
            let _ = reader.records_since(1 << 20).count();
        }
        whole
    });
    let Ok(salvaged) = Reader::salvage_bytes(file) else {
        assert!(read.is_err(), "it opens, and cannot be salvaged");
        return;
    };
    let report = salvaged.salvaged().expect("it was salvaged");
    assert!(
        report
            .holes
            .is_sorted_by(|one, next| one.offset + one.bytes <= next.offset),
        "{report}"
    );
    let writer = Writer::new(Vec::new(), salvaged.header(), WriterOptions::default());
    let Ok(writer) = writer else { return };
    let (bytes, totals) = pack(&salvaged, writer, |_| ()).expect("what was salvaged is whole");
    assert_eq!(totals.commands, salvaged.totals().commands);
    let kept = Reader::from_bytes(bytes).expect("what was written is a trace");
    let records = |reader: &Reader| -> Vec<Record> {
        let records = reader.records().map(|it| it.expect("it is whole"));
        records.take(1 << 16).collect()
    };
    let (before, after) = (records(&salvaged), records(&kept));
    // Forged blocks may be in disorder, which the writer mends.
    let same = if mending & 1 == 1 {
        before.len() == after.len()
    } else {
        before == after
    };
    assert!(same, "another trace was written");
}

/// Makes every checksum of a file right, as far as its lengths lead.
fn mend(file: &mut [u8]) {
    let number = |file: &[u8], at: usize| -> usize {
        let bytes = file.get(at..at + 4).and_then(|it| it.first_chunk());
        bytes.map_or(0, |it| u32::from_le_bytes(*it) as usize)
    };
    let covered = HEADER_FIXED_BYTES + number(file, 12);
    mend_one(file, 0..covered, covered);
    let mut at = covered + 4;
    loop {
        let Some(rest) = file.get(at..) else { return };
        if rest.starts_with(&BLOCK_MAGIC) {
            let end = at + BLOCK_HEADER_BYTES + number(file, at + 4);
            mend_one(file, at + BLOCK_HEADER_BYTES..end, at + 8);
            mend_one(
                file,
                at..at + BLOCK_HEADER_BYTES - 4,
                at + BLOCK_HEADER_BYTES - 4,
            );
            at = end;
        } else if rest.starts_with(&INDEX_MAGIC) {
            let end = at + INDEX_FIXED_BYTES + number(file, at + 8);
            mend_one(file, at + INDEX_FIXED_BYTES..end, at + 4);
            mend_one(file, end + 8..end + 16, end + 4);
            return;
        } else {
            return;
        }
    }
}

/// Puts at `to` the checksum of `covered`, where both are in the file.
fn mend_one(file: &mut [u8], covered: std::ops::Range<usize>, to: usize) {
    let crc = file.get(covered).map(crc32fast::hash);
    if let (Some(crc), Some(to)) = (crc, file.get_mut(to..to + 4)) {
        to.copy_from_slice(&crc.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::Effort;
    use crate::edit::{Cut, rewrite};

    #[test]
    #[ignore = "writes into fuzz/corpus: traces to start from"]
    fn make_the_seeds() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let reader = Reader::open(here.join("samples/v1.0/packed.vtr")).unwrap();
        for (name, effort) in [("fast", Effort::Fast), ("packed", Effort::Packed)] {
            let mut cut = Cut::default();
            cut.skip = 485;
            cut.first = Some(30);
            let options = WriterOptions::default().effort(effort).block_commands(12);
            let writer = Writer::new(Vec::new(), reader.header(), options).unwrap();
            let (file, _) = rewrite(&reader, reader.records(), &mut cut, writer, |_| ()).unwrap();
            for (mending, how) in [(0, "as-it-is"), (1, "mended")] {
                let data = [&[mending], file.as_slice()].concat();
                let path = here.join(format!("../fuzz/corpus/vtr/{name}-{how}"));
                std::fs::write(path, data).unwrap();
            }
        }
    }

    #[test]
    fn traces_of_the_corpus_are_read_or_refused() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/vtr");
        let mut inputs: Vec<_> = std::fs::read_dir(&path)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        inputs.sort();
        assert!(!inputs.is_empty());
        for input in inputs {
            let data = std::fs::read(&input).unwrap();
            let done = std::panic::catch_unwind(|| vtr(&data));
            assert!(done.is_ok(), "{} fails", input.display());
        }
    }

    #[test]
    fn a_mended_file_opens() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/v1.0/packed.vtr");
        let whole = std::fs::read(path).unwrap();
        let mut file = whole.clone();
        let reader = Reader::from_bytes(whole.clone()).unwrap();
        let first = usize::try_from(reader.index()[0].offset()).unwrap();
        let trailer = whole.len() - 16;
        for at in [first - 2, first + 9, first + 86, trailer + 5] {
            file[at] ^= 0x55;
        }
        Reader::from_bytes(file.clone()).unwrap_err();
        mend(&mut file);
        assert!(file == whole);
    }
}
