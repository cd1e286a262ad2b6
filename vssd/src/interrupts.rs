//! How the controller tells a guest that there are completions.

/// Delivers interrupts to a guest: by an eventfd of a vfio-user client, for
/// one. Fronts implement it.
pub trait Interrupts {
    /// Raises the interrupt `vector`. Called once for each completion queue
    /// that interrupts are enabled on and that has new entries, at the end of
    /// the batch that posted them. It must not block.
    fn notify(&mut self, vector: u16);

    /// The same interrupts, to be raised from another thread; none where that
    /// cannot be, and by default.
    fn branch(&self) -> Option<Box<dyn Interrupts + Send>> {
        None
    }

    /// Whether interrupts need the guest to write doorbells to be taken back: a
    /// pin whose level the client lowers once it has seen an access. Shadow
    /// doorbells, by which a guest spares itself those, are not offered then.
    fn need_doorbells(&self) -> bool {
        false
    }
}

/// Nobody listens: the guest polls.
impl Interrupts for () {
    fn notify(&mut self, _vector: u16) {}

    fn branch(&self) -> Option<Box<dyn Interrupts + Send>> {
        Some(Box::new(()))
    }
}
