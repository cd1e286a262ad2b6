//! How the table looks, in a terminal and as Markdown.

use std::fmt::Write as _;

use super::idle::Idle;
use super::{Bench, DISK_BYTES, Row, guest};

/// What is above the table.
pub(super) fn preamble(bench: &Bench<'_>) -> String {
    let common = &bench.arguments.common;
    format!(
        "Random requests at a disk of {} MiB; server on core {}, client on core {}, {} turn(s) of {} \
         s each; all rows have a turn before any has the next.\nThe client of vhost-user is \
         libblkio (polling), that of vfio-user our driver; the peer is\n{}, with a thread that \
         polls, and io_uring for files.\nRecording goes to a file, by a thread on the server's \
         core. SPDK's figures are from another day of such a machine, which moves by half within \
         an hour.\n",
        DISK_BYTES >> 20,
        bench.cores.server,
        bench.cores.client,
        common.pairs,
        common.seconds,
        bench.daemon.version
    )
}

/// Above the columns.
pub(super) const HEAD: &str = "FRONT, MEDIUM, WORK                          DEPTH      IOPS  \
                               RECORDING  COST %  MEAN us      PEER   RATIO     SPDK";

fn count(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.0}"))
}

fn ratio(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.2}"))
}

/// What recording costs, of a hundred requests.
fn cost(row: &Row) -> f64 {
    (1.0 - row.recording_to_plain) * 100.0
}

/// A line of the terminal's table.
pub(super) fn line(row: &Row) -> String {
    format!(
        "{:<43} {:>6} {:>9.0} {:>10.0} {:>7.1} {:>8.2} {:>9} {:>7} {:>8}",
        row.case,
        row.depth,
        row.plain,
        row.recording,
        cost(row),
        row.mean_us,
        count(row.peer),
        ratio(row.recording_to_peer),
        count(row.elsewhere)
    )
}

/// What fio saw in a guest.
pub(super) fn guest(rows: &[guest::Row]) -> String {
    let mut text = String::from(
        "fio in a Linux guest without KVM, 4 KiB random reads: our NVMe drive, recording, and \
         QEMU's own, both on raw files.\nThe guest's emulation is the limit.\n\n\
         DEPTH  OURS IOPS  QEMU IOPS   RATIO",
    );
    for row in rows {
        let _ = write!(
            text,
            "\n{:>5} {:>10.0} {:>10.0} {:>7.2}",
            row.depth, row.ours, row.qemu, row.ratio
        );
    }
    text
}

/// The whole as a page.
pub(super) fn markdown(
    bench: &Bench<'_>,
    rows: &[Row],
    in_guest: &[guest::Row],
    idle: &Idle,
) -> String {
    let mut text = format!(
        "# The fronts, measured\n\n`cargo xtask bench fronts --markdown docs/benchmarks.md` \
         wrote this page.\n\n{}\n\n| front, medium, work | depth | IOPS | recording | cost | \
         mean, us | qemu-storage-daemon | recording to it | SPDK, another day |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|\n",
        preamble(bench).trim_end()
    );
    for row in rows {
        let _ = writeln!(
            text,
            "| {} | {} | {:.0} | {:.0} | {:.1} % | {:.2} | {} | {} | {} |",
            row.case,
            row.depth,
            row.plain,
            row.recording,
            cost(row),
            row.mean_us,
            count(row.peer),
            ratio(row.recording_to_peer),
            count(row.elsewhere)
        );
    }
    let _ = writeln!(
        text,
        "\nThe ratio compares ours while recording with the peer, which records nothing, turn \
         by turn.\n"
    );
    if !in_guest.is_empty() {
        let _ = writeln!(text, "```\n{}\n```\n", guest(in_guest));
    }
    let _ = writeln!(text, "{idle}");
    text
}
