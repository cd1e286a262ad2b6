//! The state machine of a zone.

use nvme::{Status, ZoneState};

/// What happens to a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ZoneEvent {
    /// Blocks are written.
    Write,
    /// The write pointer reached the capacity.
    Fill,
    /// Open Zone.
    Open,
    /// Close Zone.
    Close,
    /// The controller needs the open resource for another zone.
    MakeRoom,
    /// Finish Zone.
    Finish,
    /// Reset Zone.
    Reset,
    /// Offline Zone.
    TakeOffline,
    /// Set Zone Descriptor Extension.
    Describe,
    /// The zone can be written no more.
    Wear,
    /// The zone can be read no more.
    Die,
    /// The power came back.
    PowerOn,
    /// The namespace was formatted, or sanitized.
    Format,
}

/// The state after `event`, or why there is none (`ZNS Command Set 1.1 §2.1`).
///
/// ```text
///              Write +------------------+ Open
///         +--------->| ImplicitlyOpened |------------+
///         |          +------------------+            v
///         |  Write ^   | Close           |  +------------------+
///     +-------+    |   | MakeRoom, Power |  | ExplicitlyOpened |<-- Open --+
///     | Empty |--------|-- Open ---------|->+------------------+           |
///     +-------+    |   v                 |    | Close, Power |             |
///      ^  |   |  +--------+<-------------|----+              |             |
///      |  |   +->| Closed |--------------|-------------------|-------------+
///      |  | Describe   | Finish      Finish, Fill       Finish, Fill
///      |  |            v                 v                   v
///      |  +-Finish-> +-----------------------------------------+
///      +--- Reset ---|                   Full                  |
///                    +-----------------------------------------+
///
///   Empty, opened, Closed, Full -- Reset ----> Empty
///   any but Offline ------------- Wear ------> ReadOnly -- TakeOffline --+
///   any ------------------------- Die -------> Offline <-----------------+
///   any ------------------------- Format ----> Empty
/// ```
///
/// A command that asks for the state that is there already succeeds. What has
/// no arrow is an Invalid Zone State Transition; a write that has none is told
/// the state that forbids it.
pub(super) fn step(state: ZoneState, event: ZoneEvent) -> Result<ZoneState, Status> {
    use ZoneState::{Closed, Empty, ExplicitlyOpened, Full, ImplicitlyOpened, Offline, ReadOnly};
    let to = match (event, state) {
        (ZoneEvent::Write | ZoneEvent::Fill, Full) => return Err(Status::ZONE_IS_FULL.dnr()),
        (ZoneEvent::Write | ZoneEvent::Fill, ReadOnly) => {
            return Err(Status::ZONE_IS_READ_ONLY.dnr());
        }
        (ZoneEvent::Write | ZoneEvent::Fill, Offline) => {
            return Err(Status::ZONE_IS_OFFLINE.dnr());
        }
        (ZoneEvent::Write, ExplicitlyOpened)
        | (ZoneEvent::Open, Empty | ImplicitlyOpened | ExplicitlyOpened | Closed) => {
            ExplicitlyOpened
        }
        (ZoneEvent::Write, Empty | ImplicitlyOpened | Closed) => ImplicitlyOpened,
        (ZoneEvent::Close, ImplicitlyOpened | ExplicitlyOpened | Closed)
        | (ZoneEvent::MakeRoom, ImplicitlyOpened)
        | (ZoneEvent::PowerOn, ImplicitlyOpened | ExplicitlyOpened)
        | (ZoneEvent::Describe, Empty) => Closed,
        (ZoneEvent::Finish, Empty | ImplicitlyOpened | ExplicitlyOpened | Closed | Full)
        | (ZoneEvent::Fill, ImplicitlyOpened | ExplicitlyOpened) => Full,
        (ZoneEvent::Reset, Empty | ImplicitlyOpened | ExplicitlyOpened | Closed | Full)
        | (ZoneEvent::Format, _) => Empty,
        (ZoneEvent::TakeOffline, ReadOnly | Offline) | (ZoneEvent::Die, _) => Offline,
        (
            ZoneEvent::Wear,
            Empty | ImplicitlyOpened | ExplicitlyOpened | Closed | ReadOnly | Full,
        ) => ReadOnly,
        (ZoneEvent::PowerOn, Empty | Closed | ReadOnly | Full | Offline) => state,
        _ => return Err(Status::INVALID_ZONE_STATE_TRANSITION.dnr()),
    };
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ZoneEvent as E;

    /// A letter for a state, in the order of `ZoneState::ALL`: Empty, Implicitly
    /// and eXplicitly opened, Closed, Read only, Full, Offline.
    fn letter(outcome: Result<ZoneState, Status>) -> char {
        match outcome {
            Ok(ZoneState::Empty) => 'E',
            Ok(ZoneState::ImplicitlyOpened) => 'I',
            Ok(ZoneState::ExplicitlyOpened) => 'X',
            Ok(ZoneState::Closed) => 'C',
            Ok(ZoneState::ReadOnly) => 'R',
            Ok(ZoneState::Full) => 'F',
            Ok(ZoneState::Offline) => 'O',
            Err(status) if status == Status::INVALID_ZONE_STATE_TRANSITION.dnr() => '-',
            Err(status) if status == Status::ZONE_IS_FULL.dnr() => 'f',
            Err(status) if status == Status::ZONE_IS_READ_ONLY.dnr() => 'r',
            Err(status) if status == Status::ZONE_IS_OFFLINE.dnr() => 'o',
            Err(status) => panic!("{status}"),
        }
    }

    #[test]
    fn every_state_answers_every_event() {
        let table = [
            //            EIXCRFO
            (E::Write, "IIXIrfo"),
            (E::Fill, "-FF-rfo"),
            (E::Open, "XXXX---"),
            (E::Close, "-CCC---"),
            (E::MakeRoom, "-C-----"),
            (E::Finish, "FFFF-F-"),
            (E::Reset, "EEEE-E-"),
            (E::TakeOffline, "----O-O"),
            (E::Describe, "C------"),
            (E::Wear, "RRRRRR-"),
            (E::Die, "OOOOOOO"),
            (E::PowerOn, "ECCCRFO"),
            (E::Format, "EEEEEEE"),
        ];
        for (event, expected) in table {
            let outcomes: String = ZoneState::ALL
                .into_iter()
                .map(|state| letter(step(state, event)))
                .collect();
            assert_eq!(outcomes, expected, "{event:?}");
        }
    }
}
