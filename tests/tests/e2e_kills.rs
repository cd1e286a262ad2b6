//! Kills at random points, under load: nothing is lost, nothing is done twice, nothing
//! old comes back.
//!
//! The program `disk_checks` is the guest's; what it demands, it says itself. All
//! chance comes from one seed, which is printed; `VSSD_SEED` gives one.
#![expect(
    clippy::print_stderr,
    reason = "tests that boot guests tell what they see"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fastrand::Rng;
use qemu::{Firmware, Guest, KitError, Launch, Root};
use traces::{End, Reader};
use vssd_tests::blocks::{self, DISK_BYTES};
use vssd_tests::e2e::{
    PATIENCE, PRELUDE, Scratch, Serve, Server, Vm, pause, qemu_img, start, succeeded, sum_of_head,
};

/// Inside of the guest.
const CHECKS: &str = env!("CARGO_BIN_EXE_disk_checks");
const MIB: u64 = 1 << 20;

/// `few` as a rule, `many` where slow tests are run.
fn kills(few: u32, many: u32) -> u32 {
    std::env::var_os("VSSD_SLOW").map_or(few, |_| many)
}

fn seed() -> u64 {
    let given = std::env::var("VSSD_SEED").ok();
    let given = given.and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("VSSD_SEED={seed}");
    seed
}

/// A disk whose server is killed and started again, each time with a trace of its own.
struct Disk<'s> {
    scratch: &'s Scratch,
    name: &'static str,
    image: PathBuf,
    overlay: Option<PathBuf>,
    virtio: bool,
    traces: Vec<PathBuf>,
    server: Option<Server>,
    /// How many guests this server has had.
    guests: usize,
}

impl<'s> Disk<'s> {
    /// A raw image of zeroes.
    fn raw(scratch: &'s Scratch, name: &'static str) -> Self {
        let image = scratch.path(&format!("{name}.img"));
        let file = File::create(&image).expect("the scratch directory can be written to");
        file.set_len(DISK_BYTES).expect("an image can be sparse");
        Self {
            scratch,
            name,
            image,
            overlay: None,
            virtio: true,
            traces: Vec::new(),
            server: None,
            guests: 0,
        }
    }

    /// The same below a qcow2 image that has the changes.
    fn overlay(scratch: &'s Scratch, name: &'static str) -> Self {
        let overlay = Some(scratch.path(&format!("{name}.qcow2")));
        Self {
            overlay,
            ..Self::raw(scratch, name)
        }
    }

    /// As an NVMe drive.
    fn nvme(self) -> Self {
        Self {
            virtio: false,
            ..self
        }
    }

    fn start(&mut self, serial: &str) {
        let (image, dir) = (&self.image, self.scratch.dir());
        let serve = if self.virtio {
            Serve::virtio(image, dir, self.name)
        } else {
            Serve::new(image, dir, self.name)
        };
        let mut serve = serve.with("--serial", serial);
        if let Some(overlay) = &self.overlay {
            serve = serve.with("--overlay", overlay);
        }
        let number = self.traces.len();
        // A thread for each of the guest's processors takes over from one, and one from
        // several.
        if number % 3 == 1 {
            serve = serve.workers(2);
        }
        let trace = self.scratch.path(&format!("{}.{number}.vtr", self.name));
        self.server = Some(serve.record(&trace).start());
        self.traces.push(trace);
        self.guests = 0;
    }

    fn server(&mut self) -> &mut Server {
        self.server.as_mut().expect("it was started")
    }

    fn kill(&mut self) {
        self.server.take().expect("it was started").kill();
    }

    fn kill_at_work(&mut self, later: Duration) {
        let server = self.server.take().expect("it was started");
        server.kill_at_work(later);
    }

    /// Ends the server, and says what it complained of.
    fn end(&mut self) {
        let server = self.server.take().expect("it was started");
        let complaints = server.complaints();
        drop(server.terminate());
        assert!(complaints.is_empty(), "{complaints:#?}");
    }

    /// What is on the disk, as a raw image. Of an overlay, `qemu-img` tells; none where
    /// there is no such program.
    fn content(&self) -> Option<PathBuf> {
        let Some(overlay) = &self.overlay else {
            return Some(self.image.clone());
        };
        let copy = self.scratch.path(&format!("{}.copy", self.name));
        // Clusters that were given to nobody yet are no fault (3).
        let status = Command::new("qemu-img")
            .args(["check", "-q"])
            .arg(overlay)
            .status();
        let Ok(status) = status else {
            eprintln!(
                "SKIPPED: there is no qemu-img to read {}",
                overlay.display()
            );
            return None;
        };
        assert!(
            matches!(status.code(), Some(0 | 3)),
            "qemu-img check: {status}"
        );
        qemu_img(["convert", "-O", "raw"], [overlay, &copy]).then_some(copy)
    }
}

/// A trace opens; returns how many records it has, and whether it was cut off.
#[track_caller]
fn opens(trace: &Path) -> (usize, bool) {
    let reader = Reader::open(trace).unwrap_or_else(|e| panic!("{e}"));
    let mut records = 0;
    for record in reader.records() {
        drop(record.unwrap_or_else(|e| panic!("{}: {e}", trace.display())));
        records += 1;
    }
    (records, reader.totals().end != End::Clean)
}

/// The guest goes on by itself, and finds on its disks what it wrote.
#[test]
fn a_guest_under_load_loses_nothing_when_its_servers_are_killed() {
    let name = "a_guest_under_load_loses_nothing_when_its_servers_are_killed";
    let Some(vm) = Vm::take(name) else { return };
    let seed = seed();
    let mut random = Rng::with_seed(seed);
    let scratch = Scratch::new();
    let mut disks = [
        Disk::raw(&scratch, "raw"),
        Disk::overlay(&scratch, "overlay"),
    ];
    disks.iter_mut().for_each(|disk| disk.start("GO"));
    // The first virtio disk is the one with the tools.
    let guests = ["vdb", "vdc"];
    let job = format!(
        "{PRELUDE}disk_checks load /dev/vdb {seed} & first=$!\n\
         disk_checks load /dev/vdc {seed} || {{ kill $first; exit 1; }}\nwait $first\n\
         for disk in vdb vdc; do\n\
         echo sum of $disk: \"$(head -c {DISK_BYTES} /dev/$disk | sha256sum)\"\ndone\n"
    );
    let mut launch = Launch::job(vm.kit(), job)
        .root(Root::Tools)
        .firmware(Firmware::Qboot)
        .cpus(2);
    for disk in &mut disks {
        launch = launch.drive(disk.server().drive());
    }
    let payload = scratch.payload(vm.kit(), &[(CHECKS.as_ref(), "disk_checks")]);
    let mut guest = start(&vm, launch.qemu_args(payload));

    let count = kills(6, 200);
    for number in 1..=count {
        let (disk, name) = {
            let index = random.usize(..disks.len());
            (&mut disks[index], guests[index])
        };
        at_work(&mut guest, name);
        let how = if random.u32(..4) == 0 {
            pause(Duration::from_micros(random.u64(..400_000)));
            disk.kill();
            "at any time"
        } else {
            disk.kill_at_work(Duration::from_micros(random.u64(..4_000)));
            "with many requests under way"
        };
        vm.say(&format!("kill {number} of {count}: {}, {how}", disk.name));
        if random.bool() {
            pause(Duration::from_millis(random.u64(..300)));
        }
        disk.start("GO");
    }
    // Another serial number ends the load.
    for (disk, name) in disks.iter_mut().zip(guests) {
        at_work(&mut guest, name);
        disk.kill();
        disk.start("STOP");
    }
    let outcome = guest.wait(PATIENCE).unwrap_or_else(|e| panic!("{e}"));
    succeeded(&outcome);
    for (disk, name) in disks.iter_mut().zip(guests) {
        disk.end();
        let has = |line: &str| outcome.lines.iter().any(|it| it == line);
        assert!(has(&format!("{name} verified")), "{:#?}", outcome.lines);
        if let Some(content) = disk.content() {
            let sum = sum_of_head(&content, DISK_BYTES / MIB);
            assert!(has(&format!("sum of {name}: {sum}")), "{name}: {sum}");
        }
        let opened: Vec<_> = disk.traces.iter().map(|trace| opens(trace)).collect();
        let (last, killed) = opened.split_last().expect("there were servers");
        assert!(!last.1, "the last one had an end: {opened:?}");
        assert!(killed.iter().all(|trace| trace.1), "{opened:?}");
        vm.say(&format!("{}: traces of {opened:?}", disk.name));
    }
}

/// Waits until commands of the guest's on `disk` are answered from now on.
#[track_caller]
fn at_work(guest: &mut Guest, disk: &str) {
    let pattern = format!("{disk} ");
    // What it has said already is from before.
    while guest.wait_for_line(&pattern, Duration::ZERO).is_ok() {}
    let mut count = || -> u64 {
        let line = guest.wait_for_line(&pattern, PATIENCE);
        let line = line.unwrap_or_else(|e| panic!("{e}"));
        let count = line.split(' ').nth(1).and_then(|word| word.parse().ok());
        count.unwrap_or_else(|| panic!("the guest said {line:?}"))
    };
    let before = count();
    while count() <= before {}
}

/// What a guest was told is stable, by block: the generation that a block has at least.
type Floor = BTreeMap<u64, u64>;

/// Whatever dies, and in whatever order: what was stable is in the image, and nothing
/// else is there but what was written after it.
#[test]
fn what_a_killed_guest_knew_to_be_stable_is_in_the_image() {
    let Some(vm) = Vm::take("what_a_killed_guest_knew_to_be_stable_is_in_the_image") else {
        return;
    };
    let seed = seed();
    let mut random = Rng::with_seed(seed);
    let scratch = Scratch::new();
    let payload = scratch.payload(vm.kit(), &[(CHECKS.as_ref(), "disk_checks")]);
    let mut disks = [
        Disk::raw(&scratch, "virtio"),
        Disk::overlay(&scratch, "nvme").nvme(),
    ];
    let mut floors = [Floor::new(), Floor::new()];
    let count = kills(2, 200);
    for number in 1..=u64::from(count) {
        for disk in &mut disks {
            if disk.server.is_none() {
                disk.start("GO");
            }
        }
        let first = number * FIRST;
        let (mut guest, mut said) = flush_on(&vm, &payload, &mut disks, (seed, first));
        pause(Duration::from_micros(random.u64(..500_000)));
        let servers_too = random.bool() || number == u64::from(count);
        let servers_first = random.bool();
        vm.say(&format!(
            "kill {number} of {count}: {}",
            match (servers_too, servers_first) {
                (false, _) => "QEMU",
                (true, false) => "QEMU, then vssd",
                (true, true) => "vssd, then QEMU",
            }
        ));
        if servers_too && servers_first {
            disks.iter_mut().for_each(Disk::kill);
        }
        guest.kill();
        if servers_too && !servers_first {
            disks.iter_mut().for_each(Disk::kill);
        }
        hear_out(&mut guest, &mut said);
        for ((disk, name), floor) in disks.iter_mut().zip(FLUSHED).zip(&mut floors) {
            let rounds = learn(&said, (seed, name), floor);
            if let Some(server) = &mut disk.server {
                server.wait_for_log("recorded ", disk.guests);
                server.is_well();
                if disk.overlay.is_some() {
                    // Nobody else reads it while it is served.
                    disk.end();
                }
            }
            if let Some(content) = disk.content() {
                holds(&content, (seed, first), floor);
            }
            vm.say(&format!("{}: {rounds} rounds are there", disk.name));
        }
    }
    for trace in scratch.traces() {
        let (records, cut) = opens(&trace);
        let (name, end) = (trace.display(), if cut { "cut off" } else { "clean" });
        vm.say(&format!("{name}: {records} records, {end}"));
    }
}

/// Rounds of guest `n` count from here times `n`, beyond what any reaches.
const FIRST: u64 = 1_000_000;

/// What the guest calls the two disks.
const FLUSHED: [&str; 2] = ["vdb", "nvme0n1"];

/// Starts a guest that writes and flushes without end, and waits until it has said of
/// each disk that something is stable: the guest, and what it said.
fn flush_on(
    vm: &Vm,
    payload: &[String],
    disks: &mut [Disk<'_>; 2],
    (seed, first): (u64, u64),
) -> (Guest, Vec<String>) {
    let jobs = FLUSHED
        .map(|name| format!("disk_checks stable /dev/{name} {seed} {first} &\n"))
        .concat();
    let mut launch = Launch::job(vm.kit(), format!("{PRELUDE}{jobs}wait\n"))
        .root(Root::Tools)
        .firmware(Firmware::Qboot)
        .qemu_args(payload.iter().cloned());
    for disk in disks {
        launch = launch.drive(disk.server().drive());
        disk.guests += 1;
    }
    let mut guest = start(vm, launch);
    let mut said = Vec::new();
    for name in FLUSHED {
        for _ in 0..100 {
            let line = guest.wait_for_line(&format!("{name} stable "), PATIENCE);
            said.push(line.unwrap_or_else(|e| panic!("{e}")));
        }
    }
    (guest, said)
}

/// What the guest said before it was killed.
fn hear_out(guest: &mut Guest, said: &mut Vec<String>) {
    loop {
        match guest.wait_for_line(" stable ", PATIENCE) {
            Ok(line) => said.push(line),
            Err(KitError::Died { .. }) => return,
            Err(e) => panic!("{e}"),
        }
    }
}

/// Notes what `said` tells of the guest's disk `name`; returns how many rounds.
fn learn(said: &[String], (seed, name): (u64, &str), floor: &mut Floor) -> usize {
    let prefix = format!("{name} stable ");
    let rounds: Vec<(u64, u64)> = said
        .iter()
        .filter_map(|line| line.strip_prefix(&prefix)?.split_once(' '))
        // The last line may be a part of one.
        .filter_map(|(thread, round)| Some((thread.parse().ok()?, round.parse().ok()?)))
        .collect();
    for &(thread, round) in &rounds {
        for block in blocks::round(seed, thread, round) {
            let known = floor.entry(block).or_default();
            *known = round.max(*known);
        }
    }
    rounds.len()
}

/// The image has each block at least as new as `floor` says, and from a round that
/// writes it.
#[track_caller]
fn holds(image: &Path, (seed, first): (u64, u64), floor: &Floor) {
    let image = File::open(image).unwrap_or_else(|e| panic!("{e}"));
    let found = blocks::generations(&image).unwrap_or_else(|e| panic!("{e}"));
    for (block, round) in (0..).zip(found) {
        let stable = floor.get(&block).copied().unwrap_or(0);
        assert!(
            round >= stable,
            "block {block} is as round {round} wrote it, and round {stable} was stable"
        );
        let thread = block / blocks::BLOCKS_EACH;
        let known = round == 0 || blocks::round(seed, thread, round).contains(&block);
        assert!(
            known && round < first + FIRST,
            "no round {round} writes block {block}"
        );
    }
}
