//! `vssd top`: watches a virtual SSD that is being served.
//!
//! ```text
//!   server --stats, once a second--> Watched (the last minutes) --> view
//! ```

mod view;
mod watched;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use rpc::Client;
use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGTERM};
use traces::{Clock as _, MonotonicClock};

use crate::Answer;
use crate::ctl::ask;
use crate::live::Stats;
use watched::Watched;

/// How often the server is asked, nanoseconds.
const INTERVAL_NS: u64 = 1_000_000_000;
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How soon a signal that ends the program does.
const LOOK: Duration = Duration::from_millis(200);
/// Where standard output is no terminal: columns.
const COLUMNS: u16 = 120;

/// Watch a virtual SSD that is being served.
#[derive(Debug, Args)]
#[command(after_help = "\
Keys: q quits, p holds the picture, the arrows or tab choose a queue.

Example: vssd top /tmp/ctl.sock
SOCKET is that of `vssd serve --control` or `vssd vm --control`.")]
pub(crate) struct TopArguments {
    /// The control socket.
    socket: PathBuf,
    /// Print what a second brings, as text, and end.
    #[arg(long)]
    once: bool,
}

/// Runs `vssd top`.
pub(crate) fn run(arguments: &TopArguments) -> Result<Answer> {
    let is_terminal = std::io::stdout().is_terminal();
    if !arguments.once && !is_terminal {
        bail!("standard output is not a terminal: use --once to print a second of it as text");
    }
    let mut server = Client::connect(&arguments.socket, Some(PATIENCE))?;
    let mut watched = Watched::default();
    // Before the screen is taken, so that what is wrong is told in plain words.
    watched.take(stats(&mut server)?);
    if arguments.once {
        let clock = MonotonicClock::start();
        clock.wait_until(INTERVAL_NS);
        watched.take(stats(&mut server)?);
        print!("{}", once(&watched)?);
        return Ok(Answer::Yes);
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .context("cannot wait for signals")?;
    }
    let mut terminal = ratatui::try_init().context("cannot use the terminal")?;
    let ended = watch(&mut terminal, &mut server, &mut watched, &stop);
    ratatui::restore();
    ended?;
    Ok(Answer::Yes)
}

fn stats(server: &mut Client) -> Result<Stats> {
    ask(server, "stats", &Value::Null)
}

/// Shows what comes until somebody has seen enough.
fn watch(
    terminal: &mut DefaultTerminal,
    server: &mut Client,
    watched: &mut Watched,
    stop: &AtomicBool,
) -> Result<()> {
    let clock = MonotonicClock::start();
    let mut due_ns = INTERVAL_NS;
    while !stop.load(Ordering::Relaxed) {
        terminal
            .draw(|frame| view::draw(frame, watched, true))
            .context("cannot write to the terminal")?;
        let left_ns = due_ns.saturating_sub(clock.now_ns());
        if event::poll(Duration::from_nanos(left_ns).min(LOOK)).context("cannot read keys")? {
            let event = event::read().context("cannot read keys")?;
            if let Event::Key(key) = event
                && key.kind == KeyEventKind::Press
                && !press(key, watched)
            {
                return Ok(());
            }
        }
        if clock.now_ns() >= due_ns {
            due_ns = clock.now_ns() + INTERVAL_NS;
            watched.take(stats(server)?);
        }
    }
    Ok(())
}

/// Does what a key says; whether to go on.
fn press(key: KeyEvent, watched: &mut Watched) -> bool {
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c') if is_control => return false,
        KeyCode::Char('q') | KeyCode::Esc => return false,
        KeyCode::Char('p' | ' ') => watched.pause(),
        KeyCode::Tab | KeyCode::Right | KeyCode::Down => watched.choose(true),
        KeyCode::BackTab | KeyCode::Left | KeyCode::Up => watched.choose(false),
        _ => {}
    }
    true
}

/// The picture as text, as wide as the terminal.
fn once(watched: &Watched) -> Result<String> {
    let columns = match ratatui::crossterm::terminal::size() {
        Ok((columns, _)) if std::io::stdout().is_terminal() => columns,
        _ => COLUMNS,
    };
    let backend = TestBackend::new(columns, view::lines(watched));
    let mut terminal = Terminal::new(backend).context("cannot draw")?;
    terminal
        .draw(|frame| view::draw(frame, watched, false))
        .context("cannot draw")?;
    Ok(text(terminal.backend().buffer()))
}

/// What stands in `buffer`, without what is empty at the end.
fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width).max(1);
    let mut text = String::new();
    for row in buffer.content.chunks(width) {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let end = text.trim_end().len();
    text.truncate(end);
    text.push('\n');
    text
}

#[cfg(test)]
mod tests;
