//! Several traces as one.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io::Write;

use nvme::NamespaceId;

use super::{Rewriter, queues};
use crate::{End, Header, NamespaceInfo, Reader, Record, Totals, TraceError, Writer};

/// How traces are merged.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct MergeOptions {
    /// Whether queues of the same number are one queue; else each trace's
    /// queues get numbers of their own.
    pub same_queues: bool,
    /// Whether each trace's namespaces become namespaces of their own; else
    /// those of the same identifier are one.
    pub namespaces_apart: bool,
    /// Whether traces that know their time of day are laid over each other
    /// from their starts nevertheless.
    pub from_starts: bool,
}

/// How the numbers of one trace become those of the whole.
#[derive(Debug, Default)]
struct Numbers {
    namespaces: BTreeMap<u32, u32>,
    /// Added to its times, after what is taken off.
    add_ns: u64,
    take_ns: u64,
}

/// Writes the records of `readers` in the order of their times. Where all know
/// the time of day of their start, they are aligned by it, else by their
/// starts. `writer` makes a writer of the header that they get. `progress` is
/// told how many records were written, now and then and at the end.
///
/// # Errors
/// As [`super::rewrite`].
pub fn merge<W: Write>(
    readers: &[Reader],
    options: MergeOptions,
    writer: impl FnOnce(&Header) -> Result<Writer<W>, TraceError>,
    mut progress: impl FnMut(u64),
) -> Result<(W, Totals), TraceError> {
    const TELL_EVERY: u64 = 1 << 14;
    let (header, numbers) = plan(readers, options);
    let mut rewriter = Rewriter::new(writer(&header)?);
    let mut sources: Vec<_> = readers
        .iter()
        .map(|reader| reader.records().with_payload())
        .collect();
    let mut heads: Vec<Option<Record>> = Vec::new();
    // The earliest of them all first; of one time, the trace named first.
    let mut due = BinaryHeap::new();
    for (index, source) in sources.iter_mut().enumerate() {
        let head = source.next().transpose()?;
        let head = head.map(|record| renumber(record, numbers.get(index)));
        if let Some(record) = &head {
            due.push(Reverse((record.at_ns(), index)));
        }
        heads.push(head);
    }
    let mut next_queue = 1;
    let mut taken: BTreeMap<(usize, u16), u16> = BTreeMap::new();
    let mut written = 0_u64;
    while let Some(Reverse((_, index))) = due.pop() {
        let (Some(head), Some(source)) = (heads.get_mut(index), sources.get_mut(index)) else {
            break;
        };
        if let Some(mut record) = head.take() {
            if !options.same_queues {
                apart(&mut record, index, &mut taken, &mut next_queue);
            }
            rewriter.record(record)?;
            written += 1;
            if written.is_multiple_of(TELL_EVERY) {
                progress(written);
            }
        }
        if let Some(record) = source.next().transpose()? {
            let record = renumber(record, numbers.get(index));
            due.push(Reverse((record.at_ns(), index)));
            *head = Some(record);
        }
    }
    progress(written);
    rewriter.finish(End::Clean)
}

/// The header of the whole, and how the numbers of each part become its.
fn plan(readers: &[Reader], options: MergeOptions) -> (Header, Vec<Numbers>) {
    let starts = || readers.iter().map(|reader| &reader.header().start);
    let by_day = !options.from_starts && starts().all(|start| start.unix_ns != 0);
    let first_unix_ns = starts().map(|start| start.unix_ns).min().unwrap_or(0);
    let mut header = readers
        .first()
        .map(|reader| reader.header().clone())
        .unwrap_or_default();
    header.start.clock_ns = 0;
    header.start.unix_ns = first_unix_ns;
    header.namespaces = Vec::new();
    header.io_queues = 0;
    header.mdts_bytes = None;
    let payloads = readers.iter().map(|it| it.header().payload.clone());
    header.payload = payloads.flatten().max_by_key(|it| it.kind);
    let mut all = Vec::new();
    for reader in readers {
        let own = reader.header();
        let mut numbers = Numbers {
            take_ns: own.start.clock_ns,
            add_ns: if by_day {
                own.start.unix_ns.saturating_sub(first_unix_ns)
            } else {
                0
            },
            ..Numbers::default()
        };
        header.io_queues = if options.same_queues {
            header.io_queues.max(own.io_queues)
        } else {
            header.io_queues.saturating_add(own.io_queues)
        };
        for namespace in &own.namespaces {
            let id = place(&mut header.namespaces, namespace, options.namespaces_apart);
            numbers.namespaces.insert(namespace.id, id);
        }
        all.push(numbers);
    }
    (header, all)
}

/// The identifier of `namespace` among those of the whole.
fn place(all: &mut Vec<NamespaceInfo>, namespace: &NamespaceInfo, apart: bool) -> u32 {
    if !apart && let Some(there) = all.iter_mut().find(|it| it.id == namespace.id) {
        there.blocks = there.blocks.max(namespace.blocks);
        return namespace.id;
    }
    let id = if apart {
        all.iter()
            .map(|it| it.id)
            .max()
            .unwrap_or(0)
            .saturating_add(1)
    } else {
        namespace.id
    };
    all.push(NamespaceInfo { id, ..*namespace });
    id
}

fn renumber(mut record: Record, numbers: Option<&Numbers>) -> Record {
    let Some(numbers) = numbers else {
        return record;
    };
    let time = |ns: u64| {
        ns.saturating_sub(numbers.take_ns)
            .saturating_add(numbers.add_ns)
    };
    match &mut record {
        Record::Command { command, .. } => {
            command.submit_ns = time(command.submit_ns);
            if let Some(completion) = &mut command.completion {
                completion.complete_ns = time(completion.complete_ns);
            }
            if let Some(id) = numbers.namespaces.get(&command.nsid.0) {
                command.nsid = NamespaceId(*id);
            }
        }
        Record::Event(event) => event.at_ns = time(event.at_ns),
        Record::Gap(gap) => gap.at_ns = time(gap.at_ns),
    }
    record
}

/// Gives the I/O queues that the record names numbers that no other trace's
/// queues have.
fn apart(
    record: &mut Record,
    index: usize,
    taken: &mut BTreeMap<(usize, u16), u16>,
    next: &mut u16,
) {
    let Record::Command { command, .. } = record else {
        return;
    };
    queues::renumber(command, |queue| {
        *taken.entry((index, queue)).or_insert_with(|| {
            let queue = *next;
            // More than 65,535 queues share the last number.
            *next = next.saturating_add(1);
            queue
        })
    });
}
