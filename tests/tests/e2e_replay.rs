//! A guest's boot is recorded, replayed onto a second virtual SSD, and packed.
#![expect(
    clippy::print_stderr,
    reason = "tests that boot guests tell what they see"
)]

use std::fs;
use std::path::Path;

use qemu::Launch;
use serde_json::Value;
use traces::Reader;
use vssd_tests::e2e::{Scratch, Serve, Stopwatch, Tally, Vm, WORK, failures, run, vssd, vssd_json};

/// The most that a command of a guest's boot may take in a packed trace.
const BYTES_A_COMMAND_MAX: f64 = 8.0;

#[test]
fn a_recorded_boot_is_replayed_and_packed() {
    let Some(vm) = Vm::take("a_recorded_boot_is_replayed_and_packed") else {
        return;
    };
    let scratch = Scratch::new();
    let image = scratch.root_image(vm.kit(), "root.img");
    let boot = scratch.path("boot.vtr");
    let server = Serve::new(&image, scratch.dir(), "drive")
        .record(&boot)
        .start();
    let _outcome = run(&vm, Launch::job(vm.kit(), WORK).drive(server.drive()));
    drop(server.terminate());

    replays(&vm, &scratch, &boot);
    packs(&scratch, &boot);
}

fn replays(vm: &Vm, scratch: &Scratch, boot: &Path) {
    let replayed = scratch.path("replayed.vtr");
    let server = Serve::new("ram:1G", scratch.dir(), "second")
        .record(&replayed)
        .start();
    let watch = Stopwatch::start();
    let device = server.device();
    let arguments = ["replay", text(boot), &device, "--pace", "max", "--json"];
    let report = vssd_json(&arguments);
    vm.say(&format!("the replay took {:?}", watch.elapsed()));
    eprintln!("{report:#}");
    drop(server.terminate());

    let recorded = Tally::whole(boot);
    let again = Tally::whole(&replayed);
    eprintln!("recorded {recorded:?}\nreplayed {again:?}");
    assert_eq!(again, recorded);
    let failed: Vec<_> = failures(&replayed)
        .into_iter()
        .filter(|(admin, _)| !admin)
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
    let info = vssd_json(&["trace", "info", text(&replayed), "--json"]);
    assert_eq!(info["recovery"], Value::Null);
    assert_eq!(info["summary"]["end"], "clean");
}

/// `vssd trace pack` leaves nothing out, and what it leaves is small.
fn packs(scratch: &Scratch, boot: &Path) {
    let packed = scratch.path("packed.vtr");
    let output = vssd(&["trace", "pack", text(boot), text(&packed)]);
    assert!(output.status.success(), "{output:?}");
    eprintln!("{}", String::from_utf8_lossy(&output.stdout).trim());

    let open = |path: &Path| Reader::open(path).unwrap_or_else(|e| panic!("{e}"));
    let (original, copy) = (open(boot), open(&packed));
    assert!(!copy.is_recovered());
    assert_eq!(copy.header(), original.header());
    assert_eq!(copy.totals(), original.totals());
    let mut records = copy.records();
    for record in original.records() {
        let same = records
            .next()
            .expect("as many records")
            .unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(same, record.unwrap_or_else(|e| panic!("{e}")));
    }
    assert!(records.next().is_none());

    let commands = original.totals().commands;
    let each = |path: &Path| {
        let bytes = fs::metadata(path).expect("it is there").len();
        #[expect(clippy::cast_precision_loss, reason = "for a person")]
        let each = bytes as f64 / commands as f64;
        each
    };
    eprintln!(
        "{commands} commands: {:.2} bytes each as recorded, {:.2} packed",
        each(boot),
        each(&packed)
    );
    assert!(each(&packed) <= BYTES_A_COMMAND_MAX, "{}", each(&packed));
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}
