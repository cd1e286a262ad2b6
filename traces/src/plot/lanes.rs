//! What has a time but no address: flushes, admin commands, failures, events.

use plotters::element::Rectangle;
use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{Color, RGBColor};

use crate::Event;

use super::Bounds;
use super::num::{cell, coordinate, index, pixel};
use super::operation::Operation;
use super::panel::{self, Area, Drawn, FAINT_INK, INK, LABEL_EM, Rect, Theme};

/// The colour of failures.
const FAILURE: RGBColor = RGBColor(200, 0, 40);
/// The colour of admin commands.
const ADMIN: RGBColor = RGBColor(110, 110, 110);
/// The background.
const GROUND: RGBColor = RGBColor(247, 247, 247);
/// The height of a lane with the space to the next, before scaling.
const LANE: f64 = 20.0;
/// How many events are kept to be labelled.
const EVENTS_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Unplaced,
    Admin,
    Failed,
    Events,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Unplaced => "flush etc.",
            Self::Admin => "admin",
            Self::Failed => "failed",
            Self::Events => "events",
        }
    }
}

#[derive(Clone, Debug)]
struct Lane {
    kind: Kind,
    columns: Vec<Option<RGBColor>>,
}

/// Strips of ticks under the map, one for each kind of thing that occurs.
#[derive(Clone, Debug)]
pub(super) struct Lanes {
    rect: Rect,
    lanes: Vec<Lane>,
    events: Vec<(f64, String, RGBColor)>,
}

impl Lanes {
    fn kinds(bounds: &Bounds) -> Vec<Kind> {
        [
            (Kind::Unplaced, bounds.unplaced()),
            (Kind::Admin, bounds.admin()),
            (Kind::Failed, bounds.failed()),
            (Kind::Events, bounds.events()),
        ]
        .into_iter()
        .filter(|&(_, count)| count > 0)
        .map(|(kind, _)| kind)
        .collect()
    }

    /// The height that the lanes for `bounds` need, pixels.
    pub(super) fn height(theme: &Theme, bounds: &Bounds) -> i32 {
        theme.px(LANE) * coordinate(Self::kinds(bounds).len())
    }

    /// The lanes at `rect`.
    pub(super) fn new(rect: Rect, bounds: &Bounds) -> Self {
        let lane = |kind| Lane {
            kind,
            columns: vec![None; index(rect.width)],
        };
        Self {
            rect,
            lanes: Self::kinds(bounds).into_iter().map(lane).collect(),
            events: Vec::new(),
        }
    }

    /// A command with no address at `x`, 0 to 1.
    pub(super) fn add_unplaced(&mut self, operation: Operation, x: f64) {
        self.add(Kind::Unplaced, x, operation.colour());
    }

    /// An admin command.
    pub(super) fn add_admin(&mut self, x: f64) {
        self.add(Kind::Admin, x, ADMIN);
    }

    /// A command that ended with an error.
    pub(super) fn add_failed(&mut self, x: f64) {
        self.add(Kind::Failed, x, FAILURE);
    }

    /// A controller event.
    pub(super) fn add_event(&mut self, x: f64, event: Event) {
        let (name, colour) = match event {
            Event::Connect => ("connect", INK),
            Event::Disconnect => ("disconnect", INK),
            Event::Enable => ("enable", INK),
            Event::Reset => ("reset", INK),
            Event::FunctionReset => ("function reset", INK),
            Event::ShutdownNormal => ("shutdown", INK),
            Event::ShutdownAbrupt => ("abrupt shutdown", FAILURE),
            Event::FatalStatus => ("fatal", FAILURE),
        };
        self.add_labelled(x, name.to_owned(), colour);
    }

    /// Commands that were lost.
    pub(super) fn add_gap(&mut self, x: f64, lost: u64) {
        self.add_labelled(x, format!("{lost} lost"), FAILURE);
    }

    fn add_labelled(&mut self, x: f64, name: String, colour: RGBColor) {
        self.add(Kind::Events, x, colour);
        if self.events.len() < EVENTS_MAX {
            self.events.push((x, name, colour));
        }
    }

    fn add(&mut self, kind: Kind, x: f64, colour: RGBColor) {
        let Some(lane) = self.lanes.iter_mut().find(|lane| lane.kind == kind) else {
            return;
        };
        let at = cell(x, lane.columns.len());
        if let Some(column) = lane.columns.get_mut(at) {
            *column = Some(colour);
        }
    }

    /// Draws the lanes.
    pub(super) fn draw(&self, area: &Area<'_>, theme: &Theme) -> Drawn {
        let label = panel::style(
            theme.face(LABEL_EM, false),
            FAINT_INK,
            (HPos::Right, VPos::Center),
        );
        let half = theme.px(0.6);
        for (number, lane) in self.lanes.iter().enumerate() {
            let strip = self.strip(theme, number);
            let corners = [
                (strip.left, strip.top),
                (strip.right() - 1, strip.bottom() - 1),
            ];
            area.draw(&Rectangle::new(corners, GROUND.filled()))?;
            let middle = strip.top + strip.height / 2;
            let at = (strip.left - theme.px(9.0), middle);
            area.draw_text(lane.kind.name(), &label, at)?;
            for (column, colour) in lane.columns.iter().enumerate() {
                let Some(colour) = colour else { continue };
                let x = strip.left + coordinate(column);
                let right = (x + half).min(strip.right() - 1);
                let left = (x - half).max(strip.left);
                let corners = [(left, strip.top + 1), (right, strip.bottom() - 2)];
                area.draw(&Rectangle::new(corners, colour.filled()))?;
            }
            if lane.kind == Kind::Events {
                self.draw_labels(area, theme, strip)?;
            }
        }
        Ok(())
    }

    fn strip(&self, theme: &Theme, number: usize) -> Rect {
        let pitch = theme.px(LANE);
        Rect {
            top: self.rect.top + pitch * coordinate(number),
            height: pitch - theme.px(3.0),
            ..self.rect
        }
    }

    /// The names of events: right of their ticks where there is room up to the
    /// next, else left of them where there is room there.
    fn draw_labels(&self, area: &Area<'_>, theme: &Theme, strip: Rect) -> Drawn {
        let face = theme.face(LABEL_EM * 0.9, false);
        let middle = strip.top + strip.height / 2;
        let mut events = self.events.clone();
        events.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut free_from = f64::from(strip.left);
        let place = |x: f64| f64::from(strip.left) + x * f64::from(strip.width);
        for (number, (x, name, colour)) in events.iter().enumerate() {
            let next = events
                .get(number + 1)
                .map_or(f64::from(strip.right()), |next| place(next.0));
            let width = theme.width(face, name);
            let gap = theme.length(6.0);
            let right = place(*x) + gap;
            let left = place(*x) - gap - width;
            let start = if right + width + gap <= next {
                right
            } else if left >= free_from + gap {
                left
            } else {
                free_from = place(*x);
                continue;
            };
            free_from = place(*x).max(start + width);
            let style = panel::style(face, *colour, (HPos::Left, VPos::Center));
            area.draw_text(name, &style, (pixel(start), middle))?;
        }
        Ok(())
    }
}
