use super::*;
use crate::live::{ClientStats, Latency, OpcodeStats, QueueStats, RecordStatus};

/// A drive that has had so many reads and writes on queue 1 at `second`.
fn at(second: u64, reads: u64, writes: u64) -> Stats {
    let opcode = |name: &str, commands: u64, ns: u64| OpcodeStats {
        opcode: name.to_owned(),
        commands,
        errors: 0,
        abandoned: 0,
        bytes: commands * 4096,
        latency_ns: Latency::default(),
        latency_buckets: vec![(ns, commands)],
    };
    let queue = |queue, opcodes| QueueStats {
        queue,
        depth: 3,
        depth_max: 9,
        opcodes,
        last: vec![format!("a command of queue {queue}")],
    };
    Stats {
        at_ns: second * 1_000_000_000,
        disk: "disk.img".to_owned(),
        client: Some(ClientStats {
            name: "qemu, pid 7".to_owned(),
            since_unix_ns: 0,
        }),
        queues: vec![
            queue(0, vec![opcode("admin", 7, 5_000)]),
            queue(
                1,
                vec![
                    opcode("read", reads, 20_479),
                    opcode("write", writes, 49_151),
                ],
            ),
        ],
        recording: RecordStatus {
            recording: true,
            file: Some("day.vtr".to_owned()),
            commands: 12,
            lag_commands: 5,
            ..RecordStatus::default()
        },
        ..Stats::default()
    }
}

fn drawn(watched: &Watched, columns: u16, lines: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(columns, lines)).unwrap();
    terminal
        .draw(|frame| view::draw(frame, watched, true))
        .unwrap();
    text(terminal.backend().buffer())
}

fn watched() -> Watched {
    let mut watched = Watched::default();
    watched.take(at(10, 1000, 50));
    watched.take(at(12, 3000, 50));
    watched
}

#[test]
fn rates_are_those_of_the_last_interval() {
    let watched = watched();
    let total = watched.total();
    assert_eq!((total.iops, total.bytes_per_s), (1000.0, 4_096_000.0));
    assert_eq!((total.p50_ns, total.max_ns), (Some(20_479), Some(20_479)));
    let rates = watched.rates();
    let names: Vec<_> = rates.iter().map(|rates| rates.opcode).collect();
    assert_eq!(names, ["read", "write", "admin"]);
    assert_eq!((rates[1].iops, rates[1].p99_ns), (0.0, None));
}

#[test]
fn the_picture_says_it_all() {
    let text = drawn(&watched(), 120, 40);
    for part in [
        "disk.img  used by qemu, pid 7",
        "recording into day.vtr",
        "5 behind",
        "IOPS 1000",
        "3.91 MiB/s",
        "20.48µs",
        "1: 3/9",
        "a command of queue 1",
        "quit",
    ] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
}

#[test]
fn it_fits_any_terminal() {
    for (columns, lines) in [(1, 1), (3, 50), (20, 5), (39, 12), (60, 24), (300, 100)] {
        let text = drawn(&watched(), columns, lines);
        assert!(text.lines().count() <= usize::from(lines), "{text}");
        if columns >= 39 && lines >= 12 {
            assert!(text.contains("read") && text.contains("1000"), "{text}");
        }
    }
}

#[test]
fn keys_choose_a_queue_hold_the_picture_and_quit() {
    let mut watched = watched();
    let key = |code| KeyEvent::new(code, KeyModifiers::NONE);
    assert!(press(key(KeyCode::Tab), &mut watched));
    assert_eq!(watched.queue(), Some(0));
    assert!(drawn(&watched, 120, 40).contains("a command of queue 0"));
    assert!(press(key(KeyCode::Left), &mut watched));
    assert!(press(key(KeyCode::Left), &mut watched));
    assert_eq!(watched.queue(), Some(1));
    assert!(press(key(KeyCode::Char('p')), &mut watched));
    watched.take(at(13, 9999, 50));
    let held = drawn(&watched, 120, 40);
    assert!(
        held.contains("held") && held.contains("IOPS 1000"),
        "{held}"
    );
    assert!(press(key(KeyCode::Char('p')), &mut watched));
    assert!(drawn(&watched, 120, 40).contains("IOPS 6999"));
    assert!(!press(key(KeyCode::Char('q')), &mut watched));
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert!(!press(interrupt, &mut watched));
}

#[test]
fn a_server_that_began_again_is_not_compared_with_the_one_before() {
    let mut watched = watched();
    watched.take(at(1, 5, 5));
    assert_eq!(watched.total().iops, 0.0);
    assert!(watched.history(None, |_| 1).is_empty());
}
