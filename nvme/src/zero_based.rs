//! Zero-based fields: 0 means one.

/// A field whose value is one less than the count that it stands for
/// (`NVMe Base 2.1 §1.4.1`, "0's based value").
///
/// ```
/// use nvme::ZeroBased;
/// assert_eq!(ZeroBased(7_u16).count(), 8);
/// assert_eq!(ZeroBased(u16::MAX).count(), 65_536);
/// assert_eq!(ZeroBased::<u16>::of(8), Some(ZeroBased(7)));
/// assert_eq!(ZeroBased::<u16>::of(0), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct ZeroBased<T>(pub T);

impl ZeroBased<u16> {
    /// The count: 1 to 65,536.
    #[must_use]
    pub const fn count(self) -> u32 {
        // `u32::from` is not const; the cast widens.
        let value = self.0 as u32;
        value + 1
    }

    /// The field for `count`; none where it is 0 or above 65,536.
    #[must_use]
    pub fn of(count: u32) -> Option<Self> {
        let value = count.checked_sub(1)?;
        u16::try_from(value).ok().map(Self)
    }
}

impl ZeroBased<u8> {
    /// The count: 1 to 256.
    #[must_use]
    pub fn count(self) -> u16 {
        u16::from(self.0) + 1
    }

    /// The field for `count`; none where it is 0 or above 256.
    #[must_use]
    pub fn of(count: u16) -> Option<Self> {
        let value = count.checked_sub(1)?;
        u8::try_from(value).ok().map(Self)
    }
}
