//! Built-in profiles, refusals word for word, hostile files and drives.

use nvme::{IdentifyController, IdentifyNamespace, IdentifyNvmNamespace};
use proptest::prelude::*;
use zerocopy::FromBytes;

use super::{BUILT_IN, BuiltIn, Drive, Profile, ProfileError};
use crate::zoned::Zrwa;
use crate::{ControllerConfig, ZonedConfig};

fn parse(built_in: &BuiltIn) -> Profile {
    Profile::parse(built_in.name, built_in.toml).unwrap_or_else(|error| panic!("{error}"))
}

fn refusal(text: &str) -> String {
    match Profile::parse("my.toml", text) {
        Ok(profile) => panic!("{text:?} is taken for {profile:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn each_built_in_profile_can_be_used_and_printed() {
    for built_in in &BUILT_IN {
        let profile = parse(built_in);
        profile.to_config().unwrap().check().unwrap();
        let printed = profile.to_toml().unwrap();
        assert_eq!(Profile::parse("printed", &printed).unwrap(), profile);
        assert_eq!(Profile::built_in(built_in.name), Some(built_in));
    }
    let models = BUILT_IN.map(|built_in| parse(&built_in).identity.model);
    assert!(models[0] != models[1] && models[1] != models[2]);
}

#[test]
fn what_makes_the_built_in_profiles_what_they_are() {
    let config = |name| parse(Profile::built_in(name).unwrap()).to_config().unwrap();
    let (datacenter, client) = (config("datacenter"), config("client"));
    assert!(datacenter.namespaces_max > 1 && !datacenter.apst);
    assert_eq!(datacenter.hmb_preferred_bytes, 0);
    assert!(
        datacenter
            .formats
            .iter()
            .any(|format| format.metadata_bytes > 0)
    );
    assert!(
        client.apst
            && client
                .power_states
                .iter()
                .any(|state| state.non_operational)
    );
    assert_eq!(
        (client.namespaces_max, client.hmb_preferred_bytes),
        (1, 64 << 20)
    );
    assert!(datacenter.services.firmware.slots > client.services.firmware.slots);
    assert!(client.queue_pairs_max < datacenter.queue_pairs_max);
}

#[test]
fn the_default_profile_is_the_default_configuration() {
    let default = Profile::default();
    assert_eq!(parse(&BUILT_IN[0]), default);
    assert_eq!(Profile::parse("empty", "").unwrap(), default);
    assert_eq!(default.to_config().unwrap(), ControllerConfig::default());
}

/// A profile in which everything that can be left out is there.
fn full() -> Profile {
    let mut config = ControllerConfig {
        nqn: Some("nqn.2014-08.org.nvmexpress:one".to_owned()),
        uuid: Some([0x1f; 16]),
        ..ControllerConfig::default()
    };
    config.zoned = Some(ZonedConfig {
        zone_bytes: 1 << 20,
        capacity_bytes: 1 << 19,
        active_max: Some(9),
        open_max: Some(8),
        extension_bytes: 64,
        zrwa: Some(Zrwa {
            blocks: 64,
            granularity: 16,
            resources: 8,
            explicit_flush: true,
        }),
        read_across: true,
        first_namespace: true,
    });
    let full = Profile::of_config(&config);
    assert_eq!(full.to_config().unwrap(), config);
    full
}

#[test]
fn everything_survives_being_printed() {
    let profile = full();
    let printed = profile.to_toml().unwrap();
    assert_eq!(Profile::parse("printed", &printed).unwrap(), profile);
    assert!(printed.contains("\nvendor = 0x1b36\n"), "{printed}");
}

#[test]
fn the_default_explains_every_field_and_its_examples_are_right() {
    let manual = BUILT_IN[0].toml;
    for line in full().to_toml().unwrap().lines() {
        let Some((name, _)) = line.split_once(" = ") else {
            continue;
        };
        // Set, as an example, or explained in the list above its table.
        let ways = ["\nNAME = ", "\n# NAME = ", "\n#   NAME "];
        let explained = |way: &&str| manual.contains(&way.replace("NAME", name));
        assert!(ways.iter().any(explained), "{name} is not in the manual");
    }
    // What stands there as a comment is right where it is put in force.
    let example = |line: &str| {
        let name = line.split(' ').next().unwrap_or_default();
        let named = name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        line.starts_with("[zoned") || named && line[name.len()..].starts_with(" = ")
    };
    let in_force: Vec<&str> = manual
        .lines()
        .map(|line| {
            line.strip_prefix("# ")
                .filter(|line| example(line))
                .unwrap_or(line)
        })
        .collect();
    let profile = Profile::parse("examples", &in_force.join("\n")).unwrap();
    assert_eq!(profile.identity.serial.as_deref(), Some("VSSD0001"));
    assert!(profile.identity.uuid.is_some() && profile.identity.nqn.is_some());
    assert!(profile.firmware.revision.is_some());
    assert!(profile.zoned.and_then(|zoned| zoned.zrwa).is_some());
}

/// The rest of every message about a field.
const CHANGE: &str =
    ": change it, or leave it out for the default (`vssd profile qemu` explains each field)";

/// Profiles that are refused, and why.
const REFUSED: &[(&str, &str)] = &[
    (
        "[limits]\nqueue_pairs_max = 512\n",
        "my.toml:2: limits.queue_pairs_max is 512, but must be 1 to 511",
    ),
    (
        "[limits]\n\nqueue_pairs_max = 70000",
        "my.toml:3: limits.queue_pairs_max is 70000, but must be a whole number from 0 to 65535",
    ),
    (
        "[limits]\nqueue_pairs_max = \"many\"",
        "my.toml:2: limits.queue_pairs_max is \"many\", but must be a whole number from 0 to 65535",
    ),
    (
        "features.apst = 1",
        "my.toml:1: features.apst is 1, but must be true or false",
    ),
    (
        "[identity]\nserial = \"123456789012345678901\"",
        "my.toml:2: identity.serial is \"123456789012345678901\", but must be 1 to 20 printable \
             ASCII characters",
    ),
    (
        "[pci]\noui = \"525400\"",
        "my.toml:2: pci.oui is \"525400\", but must be three bytes in hexadecimal, such as \
             \"52:54:00\"",
    ),
    (
        "[[power.state]]\npower_mw_max = 9\n[[power.state]]\npower_mw_max = 9\nrank = 32",
        "my.toml:5: power.state[1].rank is 32, but must be 0 to 31",
    ),
    (
        "[[power.state]]\nnon_operational = true",
        "my.toml:2: power.state[0].non_operational is true, but must be false: a drive starts \
             in an operational state",
    ),
    (
        "power = { state = [] }",
        "my.toml:1: power.state is 0 of them, but must be 1 to 32 of them",
    ),
    (
        "[[format]]\nblock_bytes = 512\n\n[[format]]\nblock_bytes = 520",
        "my.toml:4: format[1] is 520+0 with a guard of 16 bits and a storage tag of 0, but must \
             be 512 or 4096 bytes of data, up to 4096 of metadata, a guard of 16 bits (32 or 64 \
             with 4096 bytes of data), and a storage tag that it leaves room for",
    ),
    (
        "[firmware]\nslots = 2\ngranularity_bytes = 0",
        "my.toml:3: firmware.granularity_bytes is 0, but must be a multiple of 4096 from 4096 to \
             1040384, or 4 for pieces of any size",
    ),
    (
        "[thermal]\ncritical_kelvin = 300",
        "my.toml:2: thermal.critical_kelvin is 300, but must be 343 to 65535",
    ),
    (
        "# of another world\n[limits]\ntransfer_bytes_max = 1000000",
        "my.toml:3: limits.transfer_bytes_max is 1000000, but must be a power of two from 8192 \
             to 33554432",
    ),
    (
        "[times]\nkeep_alive_ms = 50",
        "my.toml:2: times.keep_alive_ms is 50, but must be a multiple of 100 up to 6553500, 0 \
             for none",
    ),
    (
        "[zoned]\nzone_bytes = 65536\ncapacity_bytes = 131072",
        "my.toml:3: zoned.capacity_bytes is 131072, but must be a multiple of 4096 from 4096 \
             to 65536",
    ),
];

#[test]
fn refusals_name_the_place_the_field_the_value_and_the_range() {
    for (text, message) in REFUSED {
        assert_eq!(refusal(text), format!("{message}{CHANGE}"));
    }
}

#[test]
fn other_refusals_say_what_to_do_too() {
    let cases = [
        (
            "[limits]\nqueues = 5",
            "my.toml:2: a profile has no limits.queues: leave it out, or write one of \
             `transfer_bytes_max`, `queue_pairs_max`, `queue_entries_max`, `namespaces_max`",
        ),
        (
            "[features]\napst = true\napst = false",
            "my.toml:3: duplicate key: correct it, by the example of `vssd profile qemu`",
        ),
        (
            "[[format]]\nmetadata_bytes = 8",
            "my.toml:1: format[0]: missing field `block_bytes`: correct it, by the example of \
             `vssd profile qemu`",
        ),
    ];
    for (text, message) in cases {
        assert_eq!(refusal(text), message);
    }
    let missing = Profile::named("datacentre".as_ref())
        .unwrap_err()
        .to_string();
    assert_eq!(
        missing,
        "cannot read the profile datacentre: No such file or directory (os error 2): name a file, \
         or a built-in profile (qemu, datacenter, client)"
    );
}

#[test]
fn what_a_configuration_refuses_has_a_name_in_the_profile() {
    // One for each field that ControllerConfig::check knows.
    let cases = [
        ("identity.serial = \"\"", "identity.serial"),
        ("identity.model = \"ä\"", "identity.model"),
        ("identity.nqn = \"\"", "identity.nqn"),
        ("firmware.revision = \"123456789\"", "firmware.revision"),
        ("firmware.slots = 8", "firmware.slots"),
        ("firmware.image_bytes_max = 1", "firmware.image_bytes_max"),
        ("times.self_test_short_ms = 0", "times.self_test_short_ms"),
        (
            "times.self_test_extended_ms = 0",
            "times.self_test_extended_ms",
        ),
        (
            "limits.transfer_bytes_max = 4096",
            "limits.transfer_bytes_max",
        ),
        ("limits.queue_pairs_max = 0", "limits.queue_pairs_max"),
        ("limits.queue_entries_max = 1", "limits.queue_entries_max"),
        ("limits.namespaces_max = 0", "limits.namespaces_max"),
        ("capacity.block_bytes = 1024", "capacity.block_bytes"),
        ("memory.controller_bytes = 4095", "memory.controller_bytes"),
        ("format = []", "format"),
        ("thermal.critical_kelvin = 1", "thermal.critical_kelvin"),
        ("power.state = []", "power.state"),
        (
            "[zoned]\nzone_bytes = 8192\ncapacity_bytes = 8192\n\
             zrwa = { blocks = 3, granularity = 2, resources = 1, explicit_flush = true }",
            "zoned",
        ),
    ];
    for (text, field) in cases {
        let error = Profile::parse("my.toml", text).unwrap_err();
        let ProfileError::Field {
            place, field: at, ..
        } = &error
        else {
            panic!("{error}");
        };
        assert_eq!((at.as_str(), place.line), (field, Some(1)));
    }
}

#[test]
fn a_file_is_read_as_far_as_a_profile_can_be_long() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("long.toml");
    std::fs::write(&path, vec![b'\n'; 1 << 20]).unwrap();
    assert_eq!(Profile::named(&path).unwrap(), Profile::default());
    std::fs::write(&path, vec![b'\n'; (1 << 20) + 1]).unwrap();
    let error = Profile::named(&path).unwrap_err();
    assert!(matches!(error, ProfileError::TooLong { .. }), "{error}");
    std::fs::write(&path, b"\n\xff").unwrap();
    let error = Profile::named(&path).unwrap_err().to_string();
    assert!(
        error.contains("long.toml:2: this is not UTF-8 text"),
        "{error}"
    );
}

/// The default profile with one of its numbers another one.
fn with_number(nth: usize, value: i64) -> (String, usize) {
    let printed = Profile::default().to_toml().unwrap();
    let mut lines: Vec<String> = printed.lines().map(str::to_owned).collect();
    let numbers: Vec<usize> = (0..lines.len())
        .filter(|&index| {
            let value = lines[index].split_once(" = ").map(|(_, value)| value);
            value.is_some_and(|value| value.starts_with(|first: char| first.is_ascii_digit()))
        })
        .collect();
    let index = numbers[nth % numbers.len()];
    let name = lines[index].split_once(" = ").unwrap().0.to_owned();
    lines[index] = format!("{name} = {value}");
    (lines.join("\n"), index + 1)
}

fn page() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 4096)
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = Profile::parse_bytes("bytes", &bytes);
    }

    #[test]
    fn no_change_of_a_profile_makes_the_parser_panic(
        which in 0..BUILT_IN.len(),
        at in any::<prop::sample::Index>(),
        with in "[\\[\\]{}\"'=.,#a-z0-9_\n -]{0,12}",
    ) {
        let mut text = BUILT_IN[which].toml.to_owned();
        let at = at.index(text.len());
        text.insert_str(at, &with);
        if let Ok(profile) = Profile::parse("changed", &text) {
            prop_assert_eq!(&Profile::parse("again", &profile.to_toml().unwrap()).unwrap(), &profile);
        }
    }

    #[test]
    fn a_number_out_of_range_is_found_where_it_stands(
        nth in any::<usize>(),
        value in prop_oneof![-9_i64..9, 4000_i64..70_000, any::<i64>()],
    ) {
        let (text, line) = with_number(nth, value);
        match Profile::parse("my.toml", &text) {
            Ok(profile) => profile.to_config().unwrap().check().unwrap(),
            Err(ProfileError::Field { place, field, .. }) => {
                // A number may be at odds with another one, which is the one
                // that is named then; a table is named by its first line.
                let at_odds = ["thermal.", "capacity.", "format"];
                let related = at_odds.iter().any(|name| field.starts_with(name));
                prop_assert!(place.line == Some(line) || related, "{place}: {field}, not {line}");
            }
            Err(error) => prop_assert!(false, "{error}"),
        }
    }

    #[test]
    fn whatever_a_drive_says_its_profile_can_be_used(
        controller in page(),
        namespace in page(),
        nvm in proptest::option::of(page()),
        transfer_bytes_max in any::<Option<u64>>(),
        queue_pairs_max in any::<u16>(),
        queue_entries_max in any::<u32>(),
    ) {
        let nvm = nvm.map(|nvm| IdentifyNvmNamespace::read_from_bytes(&nvm).unwrap());
        let drive = Drive {
            controller: &IdentifyController::read_from_bytes(&controller).unwrap(),
            namespace: &IdentifyNamespace::read_from_bytes(&namespace).unwrap(),
            nvm: nvm.as_ref(),
            transfer_bytes_max,
            queue_pairs_max,
            queue_entries_max,
        };
        let taken = drive.profile();
        let printed = taken.to_toml().unwrap();
        prop_assert_eq!(Profile::parse("taken", &printed).unwrap(), taken.profile);
    }
}
