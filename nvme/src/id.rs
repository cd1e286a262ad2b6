//! Identifiers, each a type of its own, so that none is passed for another.

use core::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty), $label:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The bare number.
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($label, "{}"), self.0)
            }
        }
    };
}

id!(
    /// A queue identifier; 0 is the admin queue (`NVMe Base 2.1 §3.3`).
    QueueId(u16),
    "queue "
);
id!(
    /// A command identifier: unique among a submission queue's outstanding
    /// commands (`NVMe Base 2.1 §4.1`).
    CommandId(u16),
    "cid "
);
id!(
    /// A namespace identifier; 0 is invalid and `FFFFFFFFh` is all
    /// (`NVMe Base 2.1 §3.2.1`).
    NamespaceId(u32),
    "namespace "
);
id!(
    /// A logical block address, in blocks of the namespace's format.
    Lba(u64),
    "LBA "
);

impl QueueId {
    /// The admin queue.
    pub const ADMIN: Self = Self(0);

    /// Whether this is the admin queue.
    #[must_use]
    pub const fn is_admin(self) -> bool {
        self.0 == 0
    }
}
