//! One list for what is saved and what is not.

/// The two methods of saved state, from one list in which every field of the type appears: a field
/// that is in neither part does not compile, and one that is not saved says why.
///
/// An agent's list begins with its policy, which is saved on its own: `policy: field;`.
macro_rules! saved {
    ($type:ident { policy: $policy:ident; $($part:ident),*;
        counters: $($counter:ident),*;
        not: $($not:ident $reason:literal),* $(,)?
    }) => {
        fn policy(&self) -> &dyn $crate::Policy {
            &self.$policy
        }

        fn policy_mut(&mut self) -> &mut dyn $crate::Policy {
            &mut self.$policy
        }

        fn into_policy(self: Box<Self>) -> Box<dyn $crate::Policy> {
            Box::new(self.$policy)
        }

        $crate::saved::saved! { $type {
            $($part),*;
            counters: $($counter),*;
            not: $policy "saved on its own", $($not $reason),*
        } }
    };
    ($vis:vis $type:ident {
        $($part:ident),*;
        counters: $($counter:ident),*;
        not: $($not:ident $reason:literal),* $(,)?
    }) => {
        /// What is needed to go on.
        $vis fn state(&self) -> ::rlrun_core::State {
            let $type { $($part,)* $($counter,)* $($not: _,)* } = self;
            #[allow(unused_mut)]
            let mut state = ::rlrun_core::State::new();
            $(state.insert_child(stringify!($part), $part.state());)*
            $(state.insert_u64(stringify!($counter), [*$counter]);)*
            state
        }

        /// Goes on from a saved state.
        ///
        /// # Errors
        /// If an entry is missing or does not fit.
        $vis fn load_state(
            &mut self,
            state: &::rlrun_core::State,
        ) -> Result<(), ::rlrun_core::StateError> {
            $(self.$part.load_state(&state.child(stringify!($part)))?;)*
            $(self.$counter = state.counter(stringify!($counter))?;)*
            $(const _: &str = $reason;)*
            Ok(())
        }
    };
}
pub(crate) use saved;
