//! How an error is printed by `fn main() -> Result<…>`, `unwrap`, `expect` and the program.

use std::error::Error;
use std::fmt;

/// An error as people read it: the message, and below it what caused it.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a>(pub &'a dyn Error);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        if cause.is_some() {
            f.write_str("\n\nCaused by:")?;
        }
        while let Some(error) = cause {
            error.to_string().lines().try_for_each(|line| write!(f, "\n    {line}"))?;
            cause = error.source();
        }
        Ok(())
    }
}

/// Makes [`Report`] the `Debug` form of error types: what a `main` that returns one prints is then
/// a message, and not the fields of an enum.
#[macro_export]
macro_rules! debug_is_report {
    ($($error:ty),+ $(,)?) => {$(
        impl ::std::fmt::Debug for $error {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                ::std::fmt::Display::fmt(&$crate::Report(self), f)
            }
        }
    )+};
}

#[cfg(test)]
mod tests {
    use crate::{SafetensorsError, State};

    #[test]
    fn a_main_that_returns_an_error_prints_its_message_and_causes() {
        let error = State::from_safetensors(b"nothing").unwrap_err();
        assert!(matches!(error, SafetensorsError::Format(_)));
        let text = format!("{error:?}");
        let (first, causes) = text.split_once("\n\nCaused by:\n    ").unwrap();
        assert_eq!(first, "not valid safetensors");
        assert!(causes.len() > 5 && !causes.contains("Format"), "{causes}");
        let missing = State::new().counter("steps").unwrap_err();
        assert_eq!(format!("{missing:?}"), "saved state has no entry `steps`");
    }
}
