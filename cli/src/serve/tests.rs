use super::*;

#[test]
fn every_disk_has_a_serial_number_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let [one, other] = ["one", "other"].map(|name| directory.path().join(name));
    let roundabout = directory.path().join(".").join("one");
    for path in [&one, &other] {
        std::fs::write(path, "").unwrap();
    }
    let [one, other, roundabout] =
        [one, other, roundabout].map(|path| serial_of(&Disk::Image(path)));
    assert_eq!(one, roundabout);
    assert_ne!(one, other);
    assert_eq!(one.len(), 12);
}

#[test]
fn options_go_before_the_profile() {
    let disk = Disk::Ram(1 << 20);
    let mut arguments = DriveArguments::plain("socket".into(), None);
    let default = arguments.config(&disk).unwrap();
    let qemu = ControllerConfig {
        serial: serial_of(&disk),
        ..ControllerConfig::default()
    };
    assert_eq!(default, qemu);

    arguments.profile = "client".into();
    let client = arguments.config(&disk).unwrap();
    assert_eq!(client.model, "vssd virtual client SSD");
    assert_eq!((client.namespaces_max, client.block_bytes), (1, 512));
    arguments.serial = Some("S1".to_owned());
    arguments.model = Some("My SSD".to_owned());
    arguments.block_size = Some(4096);
    let changed = arguments.config(&disk).unwrap();
    let expected = ControllerConfig {
        serial: "S1".to_owned(),
        model: "My SSD".to_owned(),
        block_bytes: 4096,
        ..client
    };
    assert_eq!(changed, expected);

    arguments.block_size = Some(520);
    let error = format!("{:#}", arguments.config(&disk).unwrap_err());
    assert!(error.contains("--block-size"), "{error}");
    assert!(error.contains("capacity.block_bytes is 520"), "{error}");

    // Where neither says anything, the profile's serial number counts.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("my.toml");
    std::fs::write(&path, "identity.serial = \"PROFILE\"").unwrap();
    let mut arguments = DriveArguments::plain("socket".into(), None);
    arguments.profile = path;
    assert_eq!(arguments.config(&disk).unwrap().serial, "PROFILE");
}

#[test]
fn a_label_has_a_name() {
    let label: Label = "os=windows 11".parse().unwrap();
    assert_eq!(
        (label.name.as_str(), label.value.as_str()),
        ("os", "windows 11")
    );
    assert!(
        "windows"
            .parse::<Label>()
            .unwrap_err()
            .contains("NAME=VALUE")
    );
}
