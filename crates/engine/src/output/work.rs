//! A count of what scanning costs, so that a test can see that it is linear without a clock.

/// Counts one look at a character.
#[cfg(not(test))]
#[inline]
pub(super) fn step() {}

#[cfg(test)]
pub(super) use counted::{step, take};

#[cfg(test)]
mod counted {
    use std::cell::Cell;

    thread_local!(static STEPS: Cell<usize> = const { Cell::new(0) });

    pub(in super::super) fn step() {
        STEPS.set(STEPS.get() + 1);
    }

    /// How many there were since the last time.
    pub(in super::super) fn take() -> usize {
        STEPS.take()
    }
}
