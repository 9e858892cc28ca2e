//! The code of the guides and of the reference, run as tests of a crate that depends on `rlrun` alone.
//! `tests/outside.rs` compiles it, and every example, outside the workspace too.

#[doc = include_str!("../../../docs/guides/modes.md")]
#[cfg(doctest)]
struct Modes;

#[doc = include_str!("../../../docs/guides/custom-environment.md")]
#[cfg(doctest)]
struct CustomEnvironment;

#[doc = include_str!("../../../docs/guides/custom-agent.md")]
#[cfg(doctest)]
struct CustomAgent;

#[doc = include_str!("../../../docs/reference/errors.md")]
#[cfg(doctest)]
struct Errors;

#[doc = include_str!("../../../docs/guides/callbacks.md")]
#[cfg(doctest)]
struct Callbacks;

#[doc = include_str!("../../../docs/guides/own-program.md")]
#[cfg(doctest)]
struct OwnProgram;

#[doc = include_str!("../../../docs/guides/custom-network.md")]
#[cfg(doctest)]
struct CustomNetwork;

#[doc = include_str!("../../../docs/guides/tensors.md")]
#[cfg(doctest)]
struct Tensors;
