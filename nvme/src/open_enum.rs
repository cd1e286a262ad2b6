//! Open sets of numbers with names: a value without a name is kept as it is.

/// Declares a newtype over `u8`, a constant for each named value, its name,
/// the look-up by name, and how a value without a name is shown.
macro_rules! open_enum {
    ($(#[$doc:meta])* $name:ident, $unknown:literal { $($(#[$item_doc:meta])* $item:ident = $value:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(pub u8);

        impl $name {
            $($(#[$item_doc])* pub const $item: Self = Self($value);)*

            /// Every value that has a name, in order.
            pub const NAMED: &[Self] = &[$(Self($value)),*];

            /// The specification's name; none where the value has none here.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($text),)*
                    _ => None,
                }
            }

            /// The value with this name (as [`Self::name`] gives it, in any
            /// case).
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                $(if name.eq_ignore_ascii_case($text) {
                    return Some(Self($value));
                })*
                None
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self.name() {
                    Some(name) => f.pad(name),
                    None => write!(f, $unknown, self.0),
                }
            }
        }
    };
}

/// Implements [`Default`] as all zeroes, for structures whose arrays are too
/// long for the derived one.
macro_rules! zeroed_default {
    ($($name:ident),+ $(,)?) => {
        $(impl Default for $name {
            fn default() -> Self {
                zerocopy::FromZeros::new_zeroed()
            }
        })+
    };
}

pub(crate) use {open_enum, zeroed_default};
