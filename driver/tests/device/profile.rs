//! Drives with profiles, as a driver sees them.

use nvme::{Cns, IdentifyController, IdentifyNamespace, IdentifyNvmNamespace, NamespaceId};
use vssd::profile::{BUILT_IN, Drive, DriveProfile, Profile};
use vssd::{ControllerConfig, OptionalCommand};

use crate::in_process::bring_up_as;

fn config_of(name: &str) -> ControllerConfig {
    Profile::named(name.as_ref()).unwrap().to_config().unwrap()
}

/// The profile of a drive that is made to be `config`.
fn taken_from(config: ControllerConfig) -> DriveProfile {
    let (mut controller, _) = bring_up_as(config);
    let identify: IdentifyController = controller.identify_controller().unwrap();
    let namespace: IdentifyNamespace = controller.identify(Cns::NAMESPACE, NamespaceId(1)).unwrap();
    let nvm: IdentifyNvmNamespace = controller
        .identify(Cns::IO_NAMESPACE, NamespaceId(1))
        .unwrap();
    let info = controller.info();
    let drive = Drive {
        controller: &identify,
        namespace: &namespace,
        nvm: Some(&nvm),
        transfer_bytes_max: info.mdts_bytes.map(|bytes| bytes as u64),
        queue_pairs_max: info.queue_pairs_max,
        queue_entries_max: u32::from(info.depth_max) + 1,
    };
    drive.profile()
}

#[test]
fn a_drive_with_the_client_profile_is_a_client_drive() {
    let (mut controller, _) = bring_up_as(config_of("client"));
    let identify = controller.identify_controller().unwrap();
    let info = controller.info();
    assert_eq!(info.model, "vssd virtual client SSD");
    assert_eq!(info.mdts_bytes, Some(512 << 10));
    assert_eq!((info.queue_pairs_max, info.depth_max), (8, 255));
    assert_eq!(info.namespaces.len(), 1);
    assert_eq!(
        (identify.nn.get(), identify.npss, identify.apsta),
        (1, 4, 1)
    );
    assert_eq!(identify.hmpre.get(), 64 << 8);
    assert_eq!((identify.wctemp.get(), identify.cctemp.get()), (356, 358));
    assert_eq!((identify.mntmt.get(), identify.mxtmt.get()), (273, 356));
    let namespace: IdentifyNamespace = controller.identify(Cns::NAMESPACE, NamespaceId(1)).unwrap();
    assert_eq!((namespace.nlbaf, namespace.lbaf[1].lbads), (1, 12));
}

#[test]
fn a_profile_taken_from_a_drive_makes_the_same_drive() {
    for built_in in BUILT_IN {
        let config = ControllerConfig {
            serial: "SERIAL 7".to_owned(),
            ..config_of(built_in.name)
        };
        let taken = taken_from(config.clone());
        let again = taken.profile.to_config().unwrap();
        let nqn = again.nqn.clone().unwrap();
        assert!(nqn.starts_with("nqn.2014-08.org.nvmexpress:uuid:"), "{nqn}");
        // What Identify does not tell is as by default, which for times counts.
        let default = ControllerConfig::default();
        let mut expected = ControllerConfig {
            nqn: Some(nqn),
            uuid: Some(config.uuid()),
            format_ns: default.format_ns,
            sanitize_ns: default.sanitize_ns,
            endurance_bytes: default.endurance_bytes,
            ..config
        };
        let services = default.services;
        expected.services.self_test.short_ns = services.self_test.short_ns;
        expected.services.firmware.image_bytes_max = services.firmware.image_bytes_max;
        assert_eq!(again, expected, "{}", built_in.name);
        assert!(taken.only_drive.is_empty(), "{:?}", taken.only_drive);
        assert!(taken.only_vssd.is_empty(), "{:?}", taken.only_vssd);
        // Served again, it is the same to the last field.
        assert_eq!(taken_from(again).profile, taken.profile);
    }
}

#[test]
fn what_the_virtual_ssd_has_not_is_told() {
    let (mut controller, _) = bring_up_as(config_of("client"));
    let mut identify = controller.identify_controller().unwrap();
    identify.cmic |= IdentifyController::CMIC_SRIOV;
    identify
        .oncs
        .set(identify.oncs.get() & !IdentifyController::ONCS_COMPARE);
    identify.mdts = 0;
    let namespace: IdentifyNamespace = controller.identify(Cns::NAMESPACE, NamespaceId(1)).unwrap();
    let drive = Drive {
        controller: &identify,
        namespace: &namespace,
        nvm: None,
        transfer_bytes_max: None,
        queue_pairs_max: 600,
        queue_entries_max: 65_536,
    };
    let taken = drive.profile();
    assert_eq!(taken.only_drive, ["virtual functions (SR-IOV)"]);
    assert!(taken.only_vssd.is_empty(), "{:?}", taken.only_vssd);
    assert!(
        taken
            .profile
            .features
            .withheld
            .contains(&OptionalCommand::Compare)
    );
    let toml = taken.to_toml().unwrap();
    for line in [
        "#   - limits.queue_pairs_max: the drive says 600",
        "#   - limits.transfer_bytes_max: the drive has no limit",
        "#   - virtual functions (SR-IOV)",
        "model = \"vssd virtual client SSD\"",
        "queue_pairs_max = 511",
        "queue_entries_max = 4096",
    ] {
        assert!(toml.lines().any(|at| at == line), "no {line} in\n{toml}");
    }
}
