//! `config!`: the settings of an algorithm of your own, each key in one place.

/// Makes the settings of an algorithm: a struct whose keys stand with documentation, type and
/// default, ready to be the `[agent]` table of a run file.
///
/// The first line above a key is what `rlrun config <algorithm>` prints beside its default. A key
/// that is not listed is refused with the nearest name. What else must hold of the values is checked
/// in `build`.
///
/// ```
/// use rlrun::prelude::*;
///
/// rlrun::config! {
///     /// Settings of a bandit.
///     pub struct BanditConfig {
///         /// Step size α of the running mean
///         learning_rate: f32 = 0.1,
///         /// Probability of a random action
///         epsilon: f32 = 0.05,
///     }
/// }
///
/// assert_eq!(BanditConfig::default().learning_rate, 0.1);
/// assert_eq!(BanditConfig::FIELD_NAMES, ["learning_rate", "epsilon"]);
/// ```
#[macro_export]
macro_rules! config {
    ($(#[$meta:meta])* $visibility:vis struct $name:ident {
        $($(#[doc = $line:literal])+ $key:ident: $type:ty = $default:expr),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, $crate::serde::Serialize, $crate::serde::Deserialize)]
        #[serde(crate = "rlrun::serde", deny_unknown_fields, default)]
        $visibility struct $name { $($(#[doc = $line])+ pub $key: $type,)* }

        impl ::std::default::Default for $name {
            fn default() -> $name {
                $name { $($key: $default,)* }
            }
        }

        impl $crate::documented::DocumentedFields for $name {
            const FIELD_NAMES: &'static [&'static str] = &[$(stringify!($key)),*];
            const FIELD_DOCS: &'static [&'static str] = &[$(concat!($($line, "\n"),+)),*];

            fn __documented_get_index<T: AsRef<str>>(name: T) -> Option<usize> {
                <Self as $crate::documented::DocumentedFields>::FIELD_NAMES
                    .iter()
                    .position(|key| *key == name.as_ref())
            }
        }
    };
}
