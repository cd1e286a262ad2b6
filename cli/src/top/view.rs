//! The picture.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table};
use traces::show;

use super::watched::{Rates, Watched};
use crate::ctl::state;
use crate::device::size;
use crate::trace::duration;

/// Lines of the curves, with their frame.
const CURVES: u16 = 6;
/// Lines of the table's kinds of commands, at most, and its heading.
const TABLE: u16 = 9;
/// From here on there is room for the curves.
const CURVES_LINES_MIN: u16 = 20;
/// Steps of a curve in a line.
const STEPS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
/// How wide such a curve is.
const CURVE: usize = 30;

/// How many lines the whole picture has, with nothing but what there is to say.
pub(super) fn lines(watched: &Watched) -> u16 {
    let last = watched.queues().iter().map(|queue| queue.last.len()).max();
    let last = last.and_then(|last| u16::try_from(last).ok()).unwrap_or(0);
    2 + CURVES + TABLE + 2 + 1 + last + 1
}

/// Draws it; the keys too, where somebody can press them.
pub(super) fn draw(frame: &mut Frame<'_>, watched: &Watched, has_keys: bool) {
    let area = frame.area();
    let rates = watched.rates();
    let curves = if area.height >= CURVES_LINES_MIN {
        CURVES
    } else {
        0
    };
    let table = u16::try_from(rates.len()).unwrap_or(TABLE) + 2;
    let [head, top, middle, queues, last, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(curves),
        Constraint::Length(table.min(TABLE)),
        Constraint::Length(2),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(area);
    draw_head(frame, head, watched);
    draw_curves(frame, top, watched);
    draw_rates(frame, middle, watched, &rates);
    draw_queues(frame, queues, watched);
    draw_last(frame, last, watched);
    if has_keys {
        draw_foot(frame, foot, watched);
    }
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, watched: &Watched) {
    let Some(stats) = watched.last() else { return };
    let client = stats.client.as_ref().map_or_else(
        || "nobody is attached".to_owned(),
        |client| format!("used by {}", client.name),
    );
    let about = Line::from(vec![
        Span::from(stats.disk.clone()).bold(),
        format!("  {client}, up {}", duration(stats.at_ns)).into(),
    ]);
    let recording = &stats.recording;
    let style = match (&recording.error, recording.recording) {
        (Some(_), _) => Style::new().fg(Color::Red).bold(),
        (None, true) => Style::new().fg(Color::Green),
        (None, false) => Style::new().dim(),
    };
    let recording = Line::from(state(recording)).style(style);
    frame.render_widget(Paragraph::new(vec![about, recording]), area);
}

/// The curves of all commands: as many as there is room for.
fn draw_curves(frame: &mut Frame<'_>, area: Rect, watched: &Watched) {
    let total = watched.total();
    let curves: [(String, Vec<u64>); 3] = [
        (
            format!(" IOPS {} ", count(total.iops)),
            watched.history(None, |rates| whole(rates.iops)),
        ),
        (
            format!(" {}/s ", size(whole(total.bytes_per_s))),
            watched.history(None, |rates| whole(rates.bytes_per_s)),
        ),
        (
            format!(" p99 {} ", time(total.p99_ns)),
            watched.history(None, |rates| rates.p99_ns.unwrap_or(0)),
        ),
    ];
    let room = match area.width {
        0..40 => 1,
        40..75 => 2,
        _ => 3,
    };
    let areas = Layout::horizontal(vec![Constraint::Fill(1); room]).split(area);
    for ((title, history), area) in curves.into_iter().zip(areas.iter()) {
        let block = Block::bordered()
            .title(title.bold())
            .border_style(Style::new().dim());
        // The newest at the right, where there are fewer than fit or more.
        let width = usize::from(block.inner(*area).width);
        let mut data = vec![0; width.saturating_sub(history.len())];
        data.extend(history.iter().skip(history.len().saturating_sub(width)));
        let curve = Sparkline::default()
            .data(&data)
            .style(Style::new().fg(Color::Cyan))
            .block(block);
        frame.render_widget(curve, *area);
    }
}

/// A column of the table: its heading, its width, and from which width of the
/// terminal on it is shown.
const COLUMNS: [(&str, u16, u16); 8] = [
    ("command", 12, 0),
    ("IOPS", 8, 0),
    ("data", 12, 46),
    ("p50", 8, 66),
    ("p99", 8, 0),
    ("max", 8, 56),
    ("errors", 6, 74),
    ("IOPS, the last minutes", 30, 106),
];

fn draw_rates(frame: &mut Frame<'_>, area: Rect, watched: &Watched, rates: &[Rates]) {
    let shown: Vec<usize> = (0..COLUMNS.len())
        .filter(|&column| area.width >= COLUMNS[column].2)
        .collect();
    let pick = |texts: [String; 8]| -> Vec<Cell<'static>> {
        let cells = texts.into_iter().enumerate();
        cells
            .filter(|(column, _)| shown.contains(column))
            .map(|(column, text)| {
                let line = Line::from(text);
                // Numbers end where their heading does.
                Cell::from(if (1..7).contains(&column) {
                    line.right_aligned()
                } else {
                    line
                })
            })
            .collect()
    };
    let heading = Row::new(pick(COLUMNS.map(|(heading, ..)| heading.to_owned())))
        .style(Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED));
    let rows = rates.iter().map(|rates| {
        let history = watched.history(Some(rates.opcode), |rates| whole(rates.iops));
        let style = if rates.errors > 0 {
            Style::new().fg(Color::Red)
        } else {
            Style::new()
        };
        Row::new(pick([
            rates.opcode.replace('_', " "),
            count(rates.iops),
            format!("{}/s", size(whole(rates.bytes_per_s))),
            time(rates.p50_ns),
            time(rates.p99_ns),
            time(rates.max_ns),
            rates.errors.to_string(),
            curve(&history),
        ]))
        .style(style)
    });
    let widths = shown.iter().map(|&column| COLUMNS[column].1);
    let table = Table::new(rows, widths.map(Constraint::Length))
        .header(heading)
        .column_spacing(2);
    frame.render_widget(table, area);
}

fn draw_queues(frame: &mut Frame<'_>, area: Rect, watched: &Watched) {
    let chosen = Style::new().add_modifier(Modifier::REVERSED);
    let style = |queue| {
        if watched.queue() == queue {
            chosen
        } else {
            Style::new()
        }
    };
    let mut spans = vec!["queues ".bold(), Span::styled(" all ", style(None))];
    for queue in watched.queues() {
        let text = format!(" {}: {}/{} ", queue.queue, queue.depth, queue.depth_max);
        spans.push(Span::styled(text, style(Some(queue.queue))));
    }
    spans.push("  in flight/most".dim());
    // The chosen one is in sight, also where there are more than fit.
    let before: usize = (spans.iter())
        .take_while(|span| span.style != chosen)
        .map(Span::width)
        .sum();
    let width = usize::from(area.width);
    let skip = (before + 16).saturating_sub(width);
    let skip = u16::try_from(skip).unwrap_or(u16::MAX);
    frame.render_widget(Paragraph::new(Line::from(spans)).scroll((0, skip)), area);
}

/// The last commands of the chosen queue, or of the one that had most.
fn draw_last(frame: &mut Frame<'_>, area: Rect, watched: &Watched) {
    let queues = watched.queues().iter();
    let queue = match watched.queue() {
        Some(wanted) => queues.into_iter().find(|queue| queue.queue == wanted),
        None => queues.max_by_key(|queue| {
            let io = queue.opcodes.iter();
            io.map(|opcode| opcode.commands).sum::<u64>()
        }),
    };
    let Some(queue) = queue else {
        frame.render_widget(Line::from("no command has come yet").dim(), area);
        return;
    };
    let mut lines = vec![Line::from(show::heading()).bold()];
    lines.extend(queue.last.iter().map(|line| Line::from(line.as_str())));
    frame.render_widget(Paragraph::new(lines), area);
}

fn draw_foot(frame: &mut Frame<'_>, area: Rect, watched: &Watched) {
    let mut spans = vec![
        " q ".reversed(),
        " quit  ".into(),
        " p ".reversed(),
        " hold  ".into(),
        " tab ".reversed(),
        " queue".into(),
    ];
    if watched.is_paused() {
        spans.push("   held: p goes on".bold());
    }
    frame.render_widget(Line::from(spans), area);
}

/// The last of `history` as a line.
fn curve(history: &[u64]) -> String {
    let shown = &history[history.len().saturating_sub(CURVE)..];
    let most = shown.iter().copied().max().unwrap_or(0).max(1);
    let padding = std::iter::repeat_n(STEPS[0], CURVE - shown.len());
    let steps = shown.iter().map(|&value| {
        // What is there at all is to be seen.
        let step = (u128::from(value) * 8).div_ceil(u128::from(most));
        STEPS[usize::try_from(step).map_or(8, |step| step.min(8))]
    });
    padding.chain(steps).collect()
}

fn time(ns: Option<u64>) -> String {
    ns.map_or_else(|| "-".to_owned(), duration)
}

/// A number in three digits or so.
fn count(number: f64) -> String {
    match number {
        0.0..9.95 => format!("{number:.1}"),
        0.0..99_999.5 => format!("{number:.0}"),
        0.0..999_950.0 => format!("{:.1}k", number / 1e3),
        _ => format!("{:.2}M", number / 1e6),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is not negative, and is drawn in whole numbers"
)]
fn whole(number: f64) -> u64 {
    number.round() as u64
}
