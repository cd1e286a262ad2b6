//! Interrupts of a controller at work, by pin and by message.

use rustix::event::{EventfdFlags, eventfd};
use wire::irq_index::{INTX, MSI, MSIX};

use super::*;

const TRIGGER: (IrqData, IrqAction) = (IrqData::EventFd, IrqAction::Trigger);
const UNMASK: (IrqData, IrqAction) = (IrqData::None, IrqAction::Unmask);

fn event() -> OwnedFd {
    eventfd(0, EventfdFlags::NONBLOCK).unwrap()
}

/// Whether the function wants its pin asserted: the status register.
fn status(driver: &mut Driver) -> bool {
    driver.client.read(7, 6, 1).unwrap()[0] & 8 != 0
}

#[test]
fn the_pin_stays_asserted_until_all_entries_are_consumed() {
    let served = Served::controller();
    let mut driver = Driver::new(&served);
    let pin = event();
    set_irqs(
        &mut driver.client,
        INTX,
        TRIGGER,
        (0, 1),
        &[],
        &[pin.as_fd()],
    )
    .unwrap();
    assert!(!status(&mut driver));
    driver.submit();
    driver.wait(1);
    eventually(|| count(&pin) == 1);
    // It has masked itself; more does not signal it.
    driver.submit();
    driver.wait(2);
    assert!(status(&mut driver));
    assert_eq!(count(&pin), 0);
    // One is not consumed: asserted still.
    driver.consume(1);
    set_irqs(&mut driver.client, INTX, UNMASK, (0, 1), &[], &[]).unwrap();
    assert_eq!(count(&pin), 1);
    driver.consume(2);
    assert!(!status(&mut driver));
    set_irqs(&mut driver.client, INTX, UNMASK, (0, 1), &[], &[]).unwrap();
    assert_eq!(count(&pin), 0);
    driver.submit();
    eventually(|| count(&pin) == 1);
}

#[test]
fn the_pin_is_unmasked_by_an_eventfd() {
    let served = Served::controller();
    let mut driver = Driver::new(&served);
    let (pin, resample) = (event(), event());
    let by_event = (IrqData::EventFd, IrqAction::Unmask);
    let client = &mut driver.client;
    set_irqs(client, INTX, TRIGGER, (0, 1), &[], &[pin.as_fd()]).unwrap();
    set_irqs(client, INTX, by_event, (0, 1), &[], &[resample.as_fd()]).unwrap();
    driver.submit();
    eventually(|| count(&pin) == 1);
    // Nothing was consumed, so it comes back each time.
    for _ in 0..3 {
        rustix::io::write(&resample, &1_u64.to_ne_bytes()).unwrap();
        eventually(|| count(&pin) == 1);
    }
    driver.consume(1);
    rustix::io::write(&resample, &1_u64.to_ne_bytes()).unwrap();
    // Whether it is unmasked before or after this is posted, it comes.
    driver.submit();
    eventually(|| count(&pin) == 1);
}

#[test]
fn the_mask_and_the_disable_bit_hold_the_pin_back() {
    let served = Served::controller();
    let mut driver = Driver::new(&served);
    let pin = event();
    set_irqs(
        &mut driver.client,
        INTX,
        TRIGGER,
        (0, 1),
        &[],
        &[pin.as_fd()],
    )
    .unwrap();
    // INTMS.
    driver.client.write(0, 0x0c, &[1, 0, 0, 0]).unwrap();
    driver.submit();
    driver.wait(1);
    assert!(!status(&mut driver));
    assert_eq!(count(&pin), 0);
    // INTMC.
    driver.client.write(0, 0x10, &[1, 0, 0, 0]).unwrap();
    assert!(status(&mut driver));
    assert_eq!(count(&pin), 1);
    // Interrupt Disable hides the pin, and not the status.
    driver.config(4, &[6, 4]);
    set_irqs(&mut driver.client, INTX, UNMASK, (0, 1), &[], &[]).unwrap();
    assert_eq!((count(&pin), status(&mut driver)), (0, true));
    driver.config(4, &[6, 0]);
    assert_eq!(count(&pin), 1);
    // Masked by the client, and unmasked.
    let mask = (IrqData::Bool, IrqAction::Mask);
    set_irqs(&mut driver.client, INTX, UNMASK, (0, 1), &[], &[]).unwrap();
    assert_eq!(count(&pin), 1);
    driver.consume(1);
    set_irqs(&mut driver.client, INTX, UNMASK, (0, 1), &[], &[]).unwrap();
    set_irqs(&mut driver.client, INTX, mask, (0, 1), &[1], &[]).unwrap();
    driver.submit();
    driver.wait(2);
    assert!(status(&mut driver));
    assert_eq!(count(&pin), 0);
    set_irqs(&mut driver.client, INTX, UNMASK, (0, 1), &[], &[]).unwrap();
    assert_eq!(count(&pin), 1);
}

#[test]
fn a_message_comes_by_the_type_that_was_set_up_last() {
    let served = Served::controller();
    let mut driver = Driver::new(&served);
    let (pin, message, vector) = (event(), event(), event());
    let disable = (IrqData::None, IrqAction::Trigger);
    let counts = || (count(&pin), count(&message), count(&vector));
    let client = &mut driver.client;
    set_irqs(client, INTX, TRIGGER, (0, 1), &[], &[pin.as_fd()]).unwrap();
    // As QEMU does when the guest enables MSI.
    set_irqs(client, INTX, disable, (0, 0), &[], &[]).unwrap();
    set_irqs(client, MSI, TRIGGER, (0, 1), &[], &[message.as_fd()]).unwrap();
    driver.submit();
    driver.wait(1);
    assert!(status(&mut driver));
    assert_eq!(counts(), (0, 1, 0));
    // The guest masks it in the capability, where it is pending then.
    driver.config(0x60, &[1, 0, 0, 0]);
    driver.submit();
    driver.wait(2);
    let pending = |driver: &mut Driver| driver.client.read(7, 0x64, 4).unwrap()[0];
    assert_eq!((pending(&mut driver), counts()), (1, (0, 0, 0)));
    driver.config(0x60, &[0, 0, 0, 0]);
    assert_eq!((pending(&mut driver), counts()), (0, (0, 1, 0)));
    let client = &mut driver.client;
    set_irqs(client, MSI, disable, (0, 0), &[], &[]).unwrap();
    set_irqs(client, MSIX, TRIGGER, (0, 1), &[], &[vector.as_fd()]).unwrap();
    driver.submit();
    driver.wait(3);
    status(&mut driver);
    assert_eq!(counts(), (0, 0, 1));
}
