use nvme::{NvmOpcode, Sqe, Status};

use crate::host::{Held, Host, Pair, io};

fn fused(opcode: NvmOpcode, which: u8, at: u64) -> Sqe {
    let mut sqe = io(opcode, 8, 1, at, 0);
    sqe.flags |= which;
    sqe
}

/// What the medium has been asked for and has not answered.
fn asked(host: &mut Host<Held>) -> usize {
    host.controller.poll(64);
    host.controller.media_mut().tickets.len()
}

fn answer(host: &mut Host<Held>) -> usize {
    host.controller.media_mut().release = 1;
    host.controller.poll(64);
    asked(host)
}

fn successes(host: &mut Host<Held>, pair: &mut Pair) -> usize {
    std::iter::from_fn(|| host.reap(pair))
        .inspect(|cqe| assert_eq!(cqe.status(), Status::SUCCESS))
        .count()
}

#[test]
fn a_pair_is_one_operation_to_all_others() {
    let (mut host, mut pair) = Host::ready(Held::default());
    let mut other = host.create_pair(2, 16);
    let at = host.pages(1);
    let write = io(NvmOpcode::WRITE, 8, 1, at, 0);
    host.put(&mut pair, write);
    host.put(&mut pair, fused(NvmOpcode::COMPARE, 1, at));
    host.put(&mut pair, fused(NvmOpcode::WRITE, 2, at));
    host.put(&mut pair, write);
    host.ring(&pair);
    // The write before it, and nothing else until that has ended.
    assert_eq!(asked(&mut host), 1);
    host.put(&mut other, write);
    host.ring(&other);
    assert_eq!(asked(&mut host), 1);
    // What the pair compares with.
    assert_eq!(answer(&mut host), 1);
    assert_eq!(successes(&mut host, &mut pair), 1);
    // What it writes.
    assert_eq!(answer(&mut host), 1);
    assert_eq!(successes(&mut host, &mut pair), 0);
    // Both others, once it has ended.
    assert_eq!(answer(&mut host), 2);
    assert_eq!(successes(&mut host, &mut pair), 2);
    assert_eq!(answer(&mut host), 1);
    assert_eq!(answer(&mut host), 0);
    let [own, others] = [&mut pair, &mut other].map(|pair| successes(&mut host, pair));
    assert_eq!((own, others), (1, 1));
}

#[test]
fn a_reset_ends_a_pair_that_waits() {
    let (mut host, mut pair) = Host::ready(Held::default());
    let at = host.pages(1);
    host.put(&mut pair, io(NvmOpcode::WRITE, 8, 1, at, 0));
    host.put(&mut pair, fused(NvmOpcode::COMPARE, 1, at));
    host.put(&mut pair, fused(NvmOpcode::WRITE, 2, at));
    host.ring(&pair);
    assert_eq!(asked(&mut host), 1);
    host.controller.function_reset();
    assert_eq!(asked(&mut host), 0);
    assert!(host.controller.idle());
    // I/O is fetched again.
    host.enable();
    let mut pair = host.create_pair(1, 16);
    host.put(&mut pair, io(NvmOpcode::WRITE, 8, 1, at, 0));
    host.ring(&pair);
    assert_eq!(asked(&mut host), 1);
}
