//! The version of the arithmetic.

/// The version of the arithmetic: what the bits of a run depend on besides its file and its seed.
///
/// Two programs with the same number compute the same bits from the same run file, on any number of
/// threads and on every SIMD level. The number rises with every change of
///
/// - the order in which numbers are added: sums over a batch are sums of fixed blocks of rows in a
///   fixed tree, and a row alone has the bits that it has within a batch,
/// - a function of a number (`tanh`, `exp`, …) or of an optimizer's step,
/// - a random stream: its name, its generator, or the order in which something draws from it,
/// - an algorithm's formulas, or the order of its updates.
///
/// Run folders carry it; resuming a run and comparing runs refuse another.
pub const NUMERICS: u32 = 1;
