//! What fuzzers call: takes any bytes and panics where the crate does what it
//! must not.
//!
//! The targets themselves stand in `fuzz/`; their corpora are replayed by the
//! tests of this module, without a fuzzer.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use traces::{Header, Reader, WriterOptions};

use crate::{AssemblerOptions, Format, ImportOptions, Input};

/// A file that is gone when this is.
struct Named(PathBuf);

impl Named {
    fn of(bytes: &[u8]) -> std::io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("vssd-fuzz-{}-{number}", std::process::id());
        let named = Self(std::env::temp_dir().join(name));
        std::fs::write(&named.0, bytes)?;
        Ok(named)
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A file of a foreign format: the first line names the format, the rest is the
/// file. It is read as it is, and once more leaving out what cannot be.
///
/// # Panics
///
/// Where what is read of it is no whole trace.
pub fn import(data: &[u8]) {
    let Some(line) = data.iter().position(|byte| *byte == b'\n') else {
        return;
    };
    let (name, bytes) = data.split_at(line);
    let name = std::str::from_utf8(name).unwrap_or_default();
    let Ok(format) = crate::find(name) else {
        return;
    };
    let Ok(named) = Named::of(bytes.get(1..).unwrap_or_default()) else {
        return;
    };
    let input = Input::new(vec![named.0.clone()]);
    let _ = crate::detect(&input);
    // Files that say themselves what their columns are, too.
    let columns = "time=us:1,op=2,offset=bytes:3,length=bytes:4";
    for salvage in [false, true] {
        for columns in [None, Some(columns.to_owned())] {
            let options = ImportOptions {
                salvage,
                columns,
                ..ImportOptions::default()
            };
            read(format, &input, &options);
        }
    }
}

fn read(format: &Format, input: &Input, options: &ImportOptions) {
    let Ok(mut opened) = format.open(input, options) else {
        return;
    };
    let imported = crate::import(
        &mut *opened,
        Vec::new(),
        Header::default(),
        AssemblerOptions::default(),
        WriterOptions::default(),
        |_| (),
    );
    let Ok((bytes, summary)) = imported else {
        return;
    };
    let reader = Reader::from_bytes(bytes).expect("what was written is a trace");
    let commands = reader.summary().expect("it is whole").commands;
    assert_eq!(commands, summary.totals.commands);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::FORMATS;

    #[test]
    #[ignore = "writes into fuzz/corpus: files to start from"]
    fn make_the_seeds() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let data = std::fs::read(here.join("../fuzz/corpus/vtr/packed-as-it-is")).unwrap();
        let reader = Reader::from_bytes(data[1..].to_vec()).unwrap();
        for format in FORMATS.iter().filter(|it| it.is_written()) {
            let path = here.join(format!("../fuzz/corpus/import/{}-written", format.name));
            let written = std::env::temp_dir().join(format!("vssd-seed-{}", format.name));
            let sink = std::fs::File::create(&written).unwrap();
            crate::export(&reader, format, Box::new(sink), |_| ()).unwrap();
            let file = std::fs::read(&written).unwrap();
            std::fs::remove_file(written).unwrap();
            let line = format!("{}\n", format.name);
            std::fs::write(path, [line.as_bytes(), &file].concat()).unwrap();
        }
    }

    #[test]
    fn files_of_the_corpus_are_read_or_refused() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/import");
        let mut inputs: Vec<_> = std::fs::read_dir(&path)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        inputs.sort();
        assert!(!inputs.is_empty());
        for input in inputs {
            let data = std::fs::read(&input).unwrap();
            let done = std::panic::catch_unwind(|| import(&data));
            assert!(done.is_ok(), "{} fails", input.display());
        }
    }
}
