//! What persists, and what a loss of power does.

use super::*;

#[test]
fn what_is_saved_is_short_and_comes_back() {
    let geometry = ZonedGeometry {
        zones: ZONES_MAX,
        extension_bytes: 64,
        ..GEOMETRY
    };
    let mut zones = Zones::new(geometry).unwrap();
    for index in 1000..2000 {
        zones.begin_write(zone(index), 12).unwrap();
    }
    zones.set_extension(zone(3), &[9; 64], true).unwrap();
    zones.begin_write(zone(1_000_000), 5).unwrap();
    zones.inject(zone(7), Injury::Offline).unwrap();
    let saved = zones.save();
    assert_eq!(saved.runs.len(), 4);
    let text = serde_json::to_string(&saved).unwrap();
    let restored = Zones::restore(&serde_json::from_str(&text).unwrap()).unwrap();
    assert_eq!(restored.save(), saved);
    assert_eq!(restored.counts, zones.counts);
    assert_eq!(restored.opened, zones.opened);
    assert_eq!((restored.zrwas, restored.injured.len()), (1, 1));
}

#[test]
fn a_damaged_state_is_refused() {
    let mut zones = zones();
    zones.begin_write(zone(1), 5).unwrap();
    zones.set_extension(zone(2), &[9; 64], false).unwrap();
    let saved = zones.save();
    Zones::restore(&saved).unwrap();
    let damages: [fn(&mut SavedZones); 9] = [
        |saved| saved.runs[0].zones = 6,
        |saved| saved.runs[0].zones = u32::MAX,
        |saved| saved.runs[1].first = 1,
        |saved| saved.runs[0].state = 0,
        |saved| saved.runs[0].written = 13,
        |saved| saved.geometry.zones = 0,
        |saved| saved.geometry.open_max = Some(0),
        |saved| saved.extensions[0].zone = 5,
        |saved| saved.extensions[0].bytes.truncate(63),
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        let mut damaged = saved.clone();
        damage(&mut damaged);
        assert!(Zones::restore(&damaged).is_err(), "{number}");
    }
}

#[test]
fn a_loss_of_power_closes_zones() {
    let mut zones = zones();
    zones.begin_write(zone(0), 1).unwrap();
    zones.open(one(1), false).unwrap();
    zones.set_extension(zone(2), &[1; 64], false).unwrap();
    zones.power_cycle();
    assert_eq!(zones.state(zone(0)), Some(ZoneState::Closed));
    assert_eq!(zones.state(zone(1)), Some(ZoneState::Empty));
    assert_eq!(zones.state(zone(2)), Some(ZoneState::Closed));
}
