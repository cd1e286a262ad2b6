//! What the sources name, for what no answer of a controller lists.

use std::path::Path;

/// The sources of the crate, without those of tests.
pub(super) struct Sources(String);

impl Sources {
    pub(super) fn read() -> Self {
        let mut text = String::new();
        gather(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
            &mut text,
        );
        Self(text)
    }

    /// Whether they name the constant `name` of `of`.
    pub(super) fn name(&self, of: &str, name: &str) -> bool {
        let needle = format!("{of}::{name}");
        self.0.match_indices(&needle).any(|(at, _)| {
            let next = self.0[at + needle.len()..].chars().next();
            !next.is_some_and(|next| next.is_ascii_alphanumeric() || next == '_')
        })
    }
}

fn gather(directory: &Path, text: &mut String) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        // The toy host is one of tests, too.
        if matches!(name, "tests" | "tests.rs" | "host" | "host.rs") {
            continue;
        }
        if path.is_dir() {
            gather(&path, text);
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap();
        let end = source
            .find("#[cfg(test)]\nmod tests {")
            .unwrap_or(source.len());
        for line in source[..end].lines() {
            if !line.trim_start().starts_with("//") {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
}
