//! Random operations on zones and on the naive model: the same answers, the
//! same reports, and the limits always kept.

use proptest::prelude::*;

use super::model::{Is, Model};
use super::*;

#[derive(Clone, Debug)]
enum Op {
    /// In a zone, at its write pointer plus a shift.
    Write(u64, i64, u64),
    WriteAnywhere(u64, u64),
    Append(u64, u64),
    Read(u64, u64),
    /// CDW13 of Zone Management Send, a zone, and what is added to its LBA.
    Send(u32, u64, u64),
    /// One of the writes that were accepted fails.
    Fail(usize),
    Inject(u64, Injury),
    PowerCycle,
    Format,
    Restart,
}

fn state_of(is: Is) -> ZoneState {
    match is {
        Is::Empty => ZoneState::Empty,
        Is::Implicit => ZoneState::ImplicitlyOpened,
        Is::Explicit => ZoneState::ExplicitlyOpened,
        Is::Closed => ZoneState::Closed,
        Is::Full => ZoneState::Full,
        Is::ReadOnly => ZoneState::ReadOnly,
        Is::Offline => ZoneState::Offline,
    }
}

/// The zones and the model look the same, and keep the limits.
fn compare(zones: &Zones, model: &Model) {
    let all = ReportRequest {
        extended: true,
        ..request(Lba(0), ZoneReporting::All)
    };
    let (number, list) = descriptors(zones, all);
    assert_eq!(number, model.zones.len() as u64);
    assert_eq!(list.len(), model.zones.len());
    for (z, ((descriptor, extension), wanted)) in list.iter().zip(&model.zones).enumerate() {
        let start = z as u64 * model.geometry.zone_blocks;
        assert_eq!(descriptor.state(), Some(state_of(wanted.is)), "zone {z}");
        assert_eq!(descriptor.zslba.get(), start);
        assert_eq!(descriptor.zcap.get(), model.geometry.capacity_blocks);
        let wp = match wanted.is {
            Is::Full | Is::ReadOnly | Is::Offline => u64::MAX,
            _ => start + wanted.wp,
        };
        assert_eq!(descriptor.wp.get(), wp, "zone {z}");
        assert_eq!(descriptor.za.zrwa(), wanted.window, "zone {z}");
        let described = wanted.extension.is_some();
        assert_eq!(descriptor.za.extension(), described, "zone {z}");
        let nothing = vec![0; 64];
        assert_eq!(extension, wanted.extension.as_ref().unwrap_or(&nothing));
    }
    for state in ZoneState::ALL {
        let is = |zone: &&model::ModelZone| state_of(zone.is) == state;
        let number = model.zones.iter().filter(is).count() as u64;
        assert_eq!(u64::from(zones.count(state)), number, "{state:?}");
        let (listed, _) = descriptors(zones, request(Lba(16), ZoneReporting::In(state)));
        let later = model.zones[1..].iter().filter(is).count() as u64;
        assert_eq!(listed, later, "{state:?}");
    }
    assert_eq!(zones.zrwas as usize, model.windows());
    assert!(zones.counts.open() <= zones.geometry.open_max.unwrap_or(u32::MAX));
    assert!(zones.counts.active() <= zones.geometry.active_max.unwrap_or(u32::MAX));
}

fn write(zones: &mut Zones, model: &mut Model, lba: u64, blocks: u64) {
    let answer = zones.begin_write(Lba(lba), blocks);
    let z = usize::try_from(lba / model.geometry.zone_blocks).unwrap();
    let resets = model.zones.get(z).map_or(0, |zone| zone.resets);
    let expected = model.write(lba, blocks);
    assert_eq!(answer.map(|_| ()), expected, "{blocks} at {lba}");
    let accepted = answer.ok().map(|accepted| (accepted, z, resets));
    model.writes.extend(accepted);
}

fn append(zones: &mut Zones, model: &mut Model, z: u64, blocks: u64) {
    let answer = zones.append(Lba(z * model.geometry.zone_blocks), blocks);
    let z = usize::try_from(z).unwrap();
    let resets = model.zones.get(z).map_or(0, |zone| zone.resets);
    let expected = model.append(z, blocks);
    assert_eq!(answer.map(|accepted| accepted.slba.0), expected);
    let accepted = answer.ok().map(|accepted| (accepted, z, resets));
    model.writes.extend(accepted);
}

fn send(zones: &mut Zones, model: &mut Model, cdw13: u32, lba: u64) {
    let had_data: Vec<bool> = (0..model.zones.len()).map(|z| model.reach(z) > 0).collect();
    let mut discarded = vec![false; model.zones.len()];
    let zone_blocks = model.geometry.zone_blocks;
    let cdw13_bits = ZoneSendCdw13::from_bits(cdw13);
    let answer = zones.manage(Lba(lba), cdw13_bits, &[0xa5; 64], |range| {
        assert_eq!(
            (range.slba.0 % zone_blocks, range.blocks % zone_blocks),
            (0, 0)
        );
        let first = usize::try_from(range.slba.0 / zone_blocks).unwrap();
        let number = usize::try_from(range.blocks / zone_blocks).unwrap();
        discarded[first..first + number].fill(true);
    });
    assert_eq!(answer, model.send(cdw13, lba), "{cdw13:#x} at {lba}");
    // The zones whose data went are discarded, and none else.
    for (z, had_data) in had_data.into_iter().enumerate() {
        let emptied = had_data && model.zones[z].is == Is::Empty;
        assert_eq!(discarded[z], emptied, "zone {z}");
    }
}

fn play(zones: &mut Zones, model: &mut Model, op: &Op) {
    let zone_blocks = model.geometry.zone_blocks;
    match *op {
        Op::Write(z, shift, blocks) => {
            let known = model.zones.get(usize::try_from(z).unwrap());
            let wp = z * zone_blocks + known.map_or(0, |zone| zone.wp);
            write(zones, model, wp.saturating_add_signed(shift), blocks);
        }
        Op::WriteAnywhere(lba, blocks) => write(zones, model, lba, blocks),
        Op::Append(z, blocks) => append(zones, model, z, blocks),
        Op::Read(lba, blocks) => {
            let blocks_of = |run: ReadRun| {
                let blocks = usize::try_from(run.range.blocks).unwrap();
                vec![run.data; blocks]
            };
            let answer = zones.read(Lba(lba), blocks);
            let answer = answer.map(|runs| runs.flat_map(blocks_of).collect::<Vec<_>>());
            assert_eq!(answer, model.read(lba, blocks), "{op:?}");
        }
        Op::Send(cdw13, z, shift) => {
            send(zones, model, cdw13, (z * zone_blocks).saturating_add(shift));
        }
        Op::Fail(which) => {
            if !model.writes.is_empty() {
                let which = which % model.writes.len();
                let (accepted, z, resets) = model.writes.remove(which);
                let expected = model.fail(&accepted, z, resets);
                assert_eq!(zones.fail_write(&accepted), expected);
            }
        }
        Op::Inject(z, injury) => {
            let answer = zones.inject(Lba(z * zone_blocks + 3), injury);
            let z = usize::try_from(z).unwrap();
            match (model.zones.get(z).map(|zone| zone.is), injury) {
                (None, _) => assert_eq!(answer, Err(Status::LBA_OUT_OF_RANGE.dnr())),
                (Some(_), Injury::Offline) => model.put(z, Is::Offline),
                (Some(Is::Offline), Injury::ReadOnly) => {
                    let refused = Status::INVALID_ZONE_STATE_TRANSITION.dnr();
                    assert_eq!(answer, Err(refused));
                }
                (Some(_), Injury::ReadOnly) => model.put(z, Is::ReadOnly),
            }
        }
        Op::PowerCycle => {
            zones.power_cycle();
            model.power_cycle();
        }
        Op::Format => {
            zones.format();
            (0..model.zones.len()).for_each(|z| model.put(z, Is::Empty));
        }
        Op::Restart => {
            *zones = Zones::restore(&zones.save()).unwrap();
            model.restart();
        }
    }
}

fn hostile() -> impl Strategy<Value = u64> {
    prop_oneof![0..130_u64, (u64::MAX - 40)..=u64::MAX, Just(1 << 63)]
}

fn op() -> impl Strategy<Value = Op> {
    let zone = 0..7_u64;
    let shift = prop_oneof![4 => Just(0_i64), 2 => -2..9_i64];
    let action = prop_oneof![8 => 1..=5_u32, 3 => 0x10..=0x11_u32, 1 => Just(6_u32)];
    let flags = prop_oneof![6 => Just(0_u32), 1 => Just(0x100), 4 => Just(0x200), 1 => Just(0x300)];
    let aside = prop_oneof![5 => Just(0_u64), 3 => 0..16_u64, 1 => hostile()];
    let injury = prop_oneof![Just(Injury::ReadOnly), Just(Injury::Offline)];
    let append_blocks = prop_oneof![8 => 1..6_u64, 1 => hostile()];
    prop_oneof![
        12 => (zone.clone(), shift, 1..9_u64).prop_map(|(z, shift, n)| Op::Write(z, shift, n)),
        1 => (hostile(), hostile()).prop_map(|(lba, n)| Op::WriteAnywhere(lba, n)),
        5 => (zone.clone(), append_blocks).prop_map(|(z, n)| Op::Append(z, n)),
        3 => (0..100_u64, 0..40_u64).prop_map(|(lba, n)| Op::Read(lba, n)),
        16 => (action, flags, zone.clone(), aside)
            .prop_map(|(action, flags, z, aside)| Op::Send(action | flags, z, aside)),
        2 => any::<usize>().prop_map(Op::Fail),
        1 => (zone, injury).prop_map(|(z, injury)| Op::Inject(z, injury)),
        1 => Just(Op::PowerCycle),
        1 => Just(Op::Format),
        1 => Just(Op::Restart),
    ]
}

fn geometry() -> impl Strategy<Value = ZonedGeometry> {
    let limits = prop_oneof![
        Just((Some(4), Some(2))),
        Just((Some(3), Some(3))),
        Just((Some(2), None)),
        Just((None, Some(1))),
        Just((None, None)),
    ];
    let zrwa = prop_oneof![2 => Just(Some(ZRWA)), 1 => Just(None)];
    let halves = 6..9_u64;
    (limits, zrwa, any::<bool>(), halves).prop_map(|(limits, zrwa, read_across, halves)| {
        ZonedGeometry {
            active_max: limits.0,
            open_max: limits.1,
            zrwa,
            read_across,
            capacity_blocks: halves * 2,
            ..GEOMETRY
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn zones_do_what_a_naive_model_does(
        geometry in geometry(),
        ops in proptest::collection::vec(op(), 1..120),
    ) {
        let mut zones = Zones::new(geometry).unwrap();
        let mut model = Model::new(geometry);
        for op in &ops {
            play(&mut zones, &mut model, op);
            compare(&zones, &model);
        }
    }
}
