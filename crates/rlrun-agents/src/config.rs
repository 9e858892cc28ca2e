//! The settings of an algorithm: a line of documentation, a line with type, default and rule.

/// A config struct, its defaults, and `check_keys`, which names the first key that breaks its rule.
macro_rules! config {
    ($(#[$meta:meta])* $name:ident {
        $($(#[$doc:meta])* $key:ident: $type:ty = $default:expr, $rule:expr;)*
    }) => {
        $(#[$meta])*
        #[derive(
            Clone, Debug, PartialEq,
            ::serde::Serialize, ::serde::Deserialize, ::documented::DocumentedFields,
        )]
        #[serde(deny_unknown_fields, default)]
        pub struct $name { $($(#[$doc])* pub $key: $type,)* }

        impl Default for $name {
            fn default() -> $name {
                $name { $($key: $default,)* }
            }
        }

        impl $name {
            /// Checks each key by its rule.
            ///
            /// # Errors
            /// [`AgentError::Config`](crate::AgentError::Config) naming the first that breaks it.
            pub fn check_keys(&self) -> Result<(), $crate::AgentError> {
                $($crate::checks::check(&self.$key, stringify!($key), $rule)?;)*
                Ok(())
            }
        }
    };
}
pub(crate) use config;
