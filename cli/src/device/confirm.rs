//! Destroying data takes a word.

use std::fmt::Display;
use std::io::{BufRead, IsTerminal as _, Write as _};

use anyhow::{Result, bail};
use clap::Args;

/// `--yes`, for commands that lose something.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Word {
    /// Do not ask: do it.
    #[arg(long)]
    yes: bool,
}

impl Word {
    /// Goes on where `--yes` was given, or a person at the terminal says so.
    /// `what` completes "This ...", and says what is lost.
    pub(super) fn ask(self, device: &impl Display, what: &str) -> Result<()> {
        if self.yes {
            return Ok(());
        }
        let input = std::io::stdin();
        if !input.is_terminal() {
            bail!("{device}: this {what}: add --yes if that is what you want");
        }
        eprint!("{device}: this {what}.\nType yes to go on: ");
        std::io::stderr().flush()?;
        if !says_yes(input.lock())? {
            bail!("{device}: left as it is");
        }
        Ok(())
    }
}

fn says_yes(mut input: impl BufRead) -> Result<bool> {
    let mut answer = String::new();
    input.read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("yes"))
}

#[cfg(test)]
mod tests {
    use super::says_yes;

    #[test]
    fn only_the_whole_word_goes_on() {
        for (answer, goes_on) in [
            ("yes\n", true),
            ("YES\n", true),
            ("y\n", false),
            ("", false),
        ] {
            assert_eq!(says_yes(answer.as_bytes()).unwrap(), goes_on, "{answer:?}");
        }
    }
}
