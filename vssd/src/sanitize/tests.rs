//! Sanitize operations start, go on, end and fail as they should.

use super::*;

const STATES: [State; 4] = [
    State::Never,
    State::InProgress,
    State::Completed,
    State::Failed,
];

#[test]
fn every_state_answers_every_change() {
    use Change as C;
    use State::{Completed, Failed, InProgress, Never};
    for (change, expected) in [
        (
            C::Start,
            [Some(InProgress), None, Some(InProgress), Some(InProgress)],
        ),
        (C::Erased, [None, Some(Completed), None, None]),
        (C::MediaFailed, [None, Some(Failed), None, None]),
        (
            C::ExitFailure,
            [Some(Never), None, Some(Completed), Some(Completed)],
        ),
    ] {
        assert_eq!(
            STATES.map(|state| state.step(change)),
            expected,
            "{change:?}"
        );
    }
}

fn overwrite(passes: u8, invert: bool) -> Sanitize {
    let mut sanitize = Sanitize::default();
    let cdw10 = SanitizeCdw10::new()
        .with_sanact(SanitizeCdw10::OVERWRITE)
        .with_owpass(passes)
        .with_oipbp(invert);
    assert_eq!(sanitize.command(cdw10.into_bits(), 0xdead_beef), Ok(true));
    sanitize
}

#[test]
fn the_last_pass_writes_the_pattern_and_those_before_alternate() {
    let mut sanitize = overwrite(3, true);
    let mut seen = Vec::new();
    for pass in 0..3 {
        sanitize.passes_done = pass;
        seen.push(sanitize.pattern());
    }
    assert_eq!(seen, [0xdead_beef, !0xdead_beef, 0xdead_beef]);
    assert_eq!(overwrite(0, false).passes(), 16);
    assert_eq!(overwrite(2, false).pattern(), 0xdead_beef);
}

#[test]
fn progress_counts_all_passes() {
    let mut sanitize = overwrite(2, false);
    assert_eq!(sanitize.progress(1000), 0);
    sanitize.done_bytes = 500;
    assert_eq!(sanitize.progress(1000), 16_384);
    sanitize.passes_done = 1;
    assert_eq!(sanitize.progress(1000), 49_152);
    sanitize.state = State::Completed;
    assert_eq!(sanitize.progress(1000), u16::MAX);
    assert_eq!(Sanitize::default().log(0, 1).progress.get(), u16::MAX);
}

#[test]
fn a_restricted_failure_is_left_by_another_operation_only() {
    let exit = SanitizeCdw10::new()
        .with_sanact(SanitizeCdw10::EXIT_FAILURE)
        .into_bits();
    let mut restricted = overwrite(1, false);
    assert_eq!(
        restricted.command(exit, 0),
        Err(Status::SANITIZE_IN_PROGRESS)
    );
    restricted.state = State::Failed;
    let refused = restricted.command(exit, 0).unwrap_err();
    assert!(refused.same_code(Status::SANITIZE_FAILED));
    let erase = SanitizeCdw10::new().with_sanact(SanitizeCdw10::BLOCK_ERASE);
    let unrestricted = restricted.command(erase.with_ause(true).into_bits(), 0);
    assert!(unrestricted.unwrap_err().same_code(Status::SANITIZE_FAILED));
    assert_eq!(restricted.command(erase.into_bits(), 0), Ok(true));

    let mut sanitize = Sanitize::default();
    let free = erase.with_ause(true).into_bits();
    assert_eq!(sanitize.command(free, 0), Ok(true));
    sanitize.state = State::Failed;
    assert_eq!(sanitize.command(exit, 0), Ok(false));
    assert_eq!(sanitize.status(), None);
}

#[test]
fn actions_that_are_none_are_refused() {
    for action in [0, 5, 6, 7] {
        let cdw10 = SanitizeCdw10::new().with_sanact(action).into_bits();
        let error = Sanitize::default().command(cdw10, 0).unwrap_err();
        assert!(error.same_code(Status::INVALID_FIELD), "{action}");
    }
}
