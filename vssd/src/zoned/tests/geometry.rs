//! Which zones a namespace can have, and what Identify says of them.

use super::*;

#[test]
fn identify_says_what_the_geometry_says() {
    let identify = GEOMETRY.identify(2);
    assert_eq!(identify.mar.get(), 3);
    assert_eq!(identify.mor.get(), 1);
    assert_eq!(identify.ozcs.get(), IdentifyZonedNamespace::OZCS_ZRWA);
    assert_eq!((identify.numzrwa.get(), identify.zrwafg.get()), (1, 2));
    assert_eq!((identify.zrwasz.get(), identify.zrwacap), (4, 1));
    assert_eq!(
        (identify.lbafe[1].zsze.get(), identify.lbafe[1].zdes),
        (16, 1)
    );
    assert_eq!(identify.lbafe[2].zsze.get(), 0);
    let free = ZonedGeometry {
        open_max: None,
        zrwa: None,
        read_across: true,
        ..GEOMETRY
    };
    assert_eq!(free.identify(1).mor.get(), 3);
    assert_eq!(
        free.identify(1).ozcs.get(),
        IdentifyZonedNamespace::OZCS_READ_ACROSS
    );
    let free = ZonedGeometry {
        active_max: None,
        ..free
    };
    assert_eq!(free.identify(1).mar.get(), u32::MAX);
    assert_eq!(free.identify(1).mor.get(), u32::MAX);
}

#[test]
fn a_geometry_that_cannot_be_is_refused() {
    assert_eq!(GEOMETRY.check(), Ok(()));
    let zrwa = |geometry: &mut ZonedGeometry, change: fn(&mut Zrwa)| {
        change(geometry.zrwa.as_mut().unwrap());
    };
    let faults: [&dyn Fn(&mut ZonedGeometry); 16] = [
        &|geometry| geometry.capacity_blocks = 18,
        &|geometry| geometry.capacity_blocks = 0,
        &|geometry| geometry.capacity_blocks = 11,
        &|geometry| geometry.zones = 0,
        &|geometry| (geometry.zones, geometry.extension_bytes) = (ZONES_MAX + 1, 0),
        &|geometry| geometry.zone_blocks = u64::MAX,
        &|geometry| geometry.open_max = Some(5),
        &|geometry| geometry.open_max = Some(0),
        &|geometry| (geometry.active_max, geometry.open_max) = (Some(0), None),
        &|geometry| geometry.extension_bytes = 65,
        &|geometry| geometry.extension_bytes = 256 * 64,
        &|geometry| (geometry.zones, geometry.extension_bytes) = (ZONES_MAX, 128),
        &|geometry| zrwa(geometry, |zrwa| zrwa.blocks = 3),
        &|geometry| zrwa(geometry, |zrwa| zrwa.blocks = 14),
        &|geometry| zrwa(geometry, |zrwa| zrwa.granularity = 0),
        &|geometry| zrwa(geometry, |zrwa| zrwa.resources = 0),
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        let mut geometry = GEOMETRY;
        fault(&mut geometry);
        assert!(Zones::new(geometry).is_err(), "{number}: {geometry:?}");
    }
}
