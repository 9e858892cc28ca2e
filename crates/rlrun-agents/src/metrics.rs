//! Named numbers that an update reports, under Stable-Baselines3's tags.

/// Tag and value, in the order of the console table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics(pub Vec<(&'static str, f64)>);
