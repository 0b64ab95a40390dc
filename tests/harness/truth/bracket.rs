//! A rising counter read before and after something was observed: the observed value must lie between.

use anyhow::Result;

/// A value taken between two readings of the truth.
#[derive(Debug, Clone, Copy)]
pub struct Bracket<R, T> {
    /// The reading before the action began.
    pub before: R,
    /// What the action returned.
    pub value: T,
    /// The reading after the action had ended.
    pub after: R,
}

/// Reads, acts, reads again.
///
/// # Errors
/// Those of `read` and `action`.
pub fn bracket<R, T>(
    mut read: impl FnMut() -> Result<R>,
    action: impl FnOnce() -> Result<T>,
) -> Result<Bracket<R, T>> {
    let before = read()?;
    let value = action()?;
    let after = read()?;
    Ok(Bracket { before, value, after })
}

impl Bracket<u64, u64> {
    /// Whether the value lies between the readings, give or take `slack` on either side.
    pub fn holds(&self, slack: u64) -> bool {
        (self.before.saturating_sub(slack)..=self.after.saturating_add(slack)).contains(&self.value)
    }
}

impl<T> Bracket<u64, T> {
    /// How far the counter rose.
    ///
    /// # Panics
    /// When the counter fell: then it is no counter.
    pub fn rise(&self) -> u64 {
        self.after.checked_sub(self.before).expect("a counter does not fall")
    }
}
