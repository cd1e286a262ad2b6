//! Runs the programs that a kit is built with.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Command, Output, Stdio},
    thread,
};

use crate::KitError;

/// All of these belong to Debian's required packages.
const HINT: &str = "the kit is built with apt-get, dpkg-deb, tar and cp, which Debian always has; \
                    elsewhere, build it in a Debian container and copy the cache directory";

/// Runs `command` to its end and returns its stdout.
pub(crate) fn run(command: &mut Command, purpose: &str) -> Result<String, KitError> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| KitError::Tool {
            program: name(command),
            source,
            hint: HINT,
        })?;
    finish(command, purpose, output)
}

/// Runs `command` to its end and hands each line of its stdout to `line`.
pub(crate) fn run_lines(
    command: &mut Command,
    purpose: &str,
    mut line: impl FnMut(&str),
) -> Result<(), KitError> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| KitError::Tool {
            program: name(command),
            source,
            hint: HINT,
        })?;
    // A full stderr pipe must not stop the program while its stdout is read.
    let stderr = child.stderr.take().map(|mut pipe| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ended = pipe.read_to_end(&mut bytes);
            bytes
        })
    });
    if let Some(stdout) = child.stdout.take() {
        for text in BufReader::new(stdout).lines().map_while(Result::ok) {
            line(&text);
        }
    }
    let status = child.wait().map_err(|source| KitError::Tool {
        program: name(command),
        source,
        hint: HINT,
    })?;
    let output = Output {
        status,
        stdout: Vec::new(),
        stderr: stderr.and_then(|t| t.join().ok()).unwrap_or_default(),
    };
    finish(command, purpose, output).map(drop)
}

fn finish(command: &Command, purpose: &str, output: Output) -> Result<String, KitError> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = stderr.trim().lines().collect();
    let tail = lines.get(lines.len().saturating_sub(12)..).unwrap_or(&[]);
    Err(KitError::ToolFailed {
        purpose: purpose.to_owned(),
        program: name(command),
        status: output.status,
        stderr: tail.join("\n"),
    })
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}
