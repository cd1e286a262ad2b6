//! Log pages of blocks that were lost, and of endurance groups.

use nvme::{EnduranceGroupAggregateLog, LbaStatusElement, LbaStatusLog, LbaStatusRange};
use serde_json::json;
use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::device::report::{Report, hex};

/// The ranges of an element that stand for the whole namespace.
const EXAMINE_ALL: u32 = u32::MAX;

/// Takes the next `V` of `rest`; none where the page ends before it.
fn next<V: FromBytes + KnownLayout + Immutable>(rest: &mut &[u8]) -> Option<V> {
    let (value, behind) = V::read_from_prefix(rest).ok()?;
    *rest = behind;
    Some(value)
}

/// Endurance Group Event Aggregate: the groups that have events.
pub(super) fn endurance_events(log: &[u8]) -> Option<Report> {
    let mut rest = log;
    let head: EnduranceGroupAggregateLog = next(&mut rest)?;
    let count = usize::try_from(head.count.get()).ok()?;
    let groups = rest.as_chunks::<2>().0.iter().take(count).enumerate();
    let lines = groups.map(|(index, group)| {
        let group = u16::from_le_bytes(*group);
        (format!("[{index:4}]:{group:#x}"), json!(group))
    });
    let mut report = Report::new("Endurance Group Event Aggregate Log:", 18);
    report
        .dec("Number of Entries", head.count.get())
        .lines("endurance_groups", lines.collect());
    Some(report)
}

/// LBA Status Information; none where the page is shorter than it says.
pub(super) fn lba_status(log: &[u8]) -> Option<Report> {
    let mut rest = log;
    let head: LbaStatusLog = next(&mut rest)?;
    let mut elements = Vec::new();
    for index in 0..head.elements.get() {
        elements.push(element(index, &mut rest)?);
    }
    let mut report = Report::new("LBA Status Information Log:", 47);
    report
        .dec(
            "LBA Status Log Page Length           (LSLPLEN)",
            head.bytes.get(),
        )
        .dec(
            "Number of LBA Status Log Elements     (NLSLNE)",
            head.elements.get(),
        )
        .dec(
            "Estimate of Unrecoverable Blocks      (ESTULB)",
            head.estimate.get(),
        )
        .dec(
            "LBA Status Generation Counter           (LSGC)",
            head.generation.get(),
        )
        .list("elements", elements);
    Some(report)
}

fn element(index: u32, rest: &mut &[u8]) -> Option<Report> {
    let head: LbaStatusElement = next(rest)?;
    let count = head.ranges.get();
    let mut lines = Vec::new();
    for _ in 0..if count == EXAMINE_ALL { 0 } else { count } {
        let range: LbaStatusRange = next(rest)?;
        let (slba, blocks) = (range.slba.get(), range.blocks.get());
        lines.push((
            format!("slba {}, blocks {blocks}", hex(slba)),
            json!({"slba": slba, "blocks": blocks}),
        ));
    }
    let ranges = if count == EXAMINE_ALL {
        "all of the namespace".to_owned()
    } else {
        count.to_string()
    };
    let mut report = Report::new(format!("Element[{index}]"), 31);
    report
        .hex("Namespace               (NEID)", head.namespace_id.get())
        .row("Ranges                  (NLRD)", ranges, count)
        .hex("Recommended Action    (RATYPE)", head.action)
        .lines("ranges", lines);
    Some(report)
}
