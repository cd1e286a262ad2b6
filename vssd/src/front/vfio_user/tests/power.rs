//! What the command register and the power state have the function do.

use rustix::event::{EventfdFlags, eventfd};

use super::*;

const POWER: u64 = 0x44;

/// The function has had its turn, and has not done anything.
fn nothing_happens(driver: &mut Driver, completions: usize) {
    for _ in 0..20 {
        driver.client.read(7, 0, 4).unwrap();
    }
    assert_eq!(driver.completions(), completions);
}

#[test]
fn without_the_bus_master_bit_nothing_is_fetched() {
    let served = Served::controller();
    let mut driver = Driver::new(&served);
    driver.submit();
    driver.wait(1);
    driver.config(4, &[2, 0]);
    driver.submit();
    nothing_happens(&mut driver, 1);
    driver.config(4, &[6, 0]);
    driver.wait(2);
    // A reset clears it.
    driver.client.ask(Command::DeviceReset, &[]).unwrap();
    assert_eq!(driver.client.read(7, 4, 1).unwrap(), [0]);
}

#[test]
fn a_function_that_sleeps_answers_nothing_and_goes_on_where_it_was() {
    let served = Served::controller();
    let mut driver = Driver::new(&served);
    let event = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
    let by_event = (IrqData::EventFd, IrqAction::Trigger);
    set_irqs(
        &mut driver.client,
        2,
        by_event,
        (0, 1),
        &[],
        &[event.as_fd()],
    )
    .unwrap();
    driver.config(POWER, &[3]);
    assert_eq!(driver.client.read(0, 0, 8).unwrap(), [0xff; 8]);
    assert_eq!(driver.client.read(0, 0x2000, 4).unwrap(), [0xff; 4]);
    // Lost: the controller would be disabled, and the command be there.
    driver.client.write(0, 0x14, &[0; 4]).unwrap();
    driver.submit();
    nothing_happens(&mut driver, 0);
    // What nobody answered is noted: an unsupported request.
    assert_eq!(driver.client.read(7, 0x8a, 1).unwrap(), [0b1010]);
    // D1 is not there, and leaves it where it is.
    driver.config(POWER, &[1]);
    assert_eq!(driver.client.read(7, POWER, 1).unwrap(), [0x0b]);
    driver.config(POWER, &[0]);
    assert_eq!(driver.client.read(0, 0x1c, 4).unwrap(), [1, 0, 0, 0]);
    nothing_happens(&mut driver, 0);
    assert_eq!(count(&event), 0);
    driver.client.write(0, 0x1000, &[1, 0, 0, 0]).unwrap();
    driver.wait(1);
    eventually(|| count(&event) == 1);
}

#[test]
fn the_bars_follow_memory_space_once_it_was_enabled() {
    let served = Served::controller();
    let mut client = served.client();
    // As SPDK has it: bus master, and no word of memory.
    client.write(7, 4, &[4, 4]).unwrap();
    assert_ne!(client.read(0, 8, 4).unwrap(), [0xff; 4]);
    client.write(7, 4, &[6, 0]).unwrap();
    client.write(7, 4, &[4, 0]).unwrap();
    assert_eq!(client.read(0, 8, 4).unwrap(), [0xff; 4]);
    client.write(7, 4, &[2, 0]).unwrap();
    assert_ne!(client.read(0, 8, 4).unwrap(), [0xff; 4]);
}

#[test]
fn the_next_client_finds_a_function_that_is_awake() {
    let served = Served::controller();
    let mut driver = Driver::new(&served);
    driver.config(POWER, &[3]);
    drop(driver);
    let mut driver = Driver::new(&served);
    driver.submit();
    driver.wait(1);
}
