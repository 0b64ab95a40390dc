//! Recording to a file and serving from it: `/api/v1/record` writes a [tape](crate::store::tape), [`Replay`] is a daemon whose measurements
//! come from one.
//!
//! What is asked of a replay is answered by the same code over what was recorded, so a question about the recorded time has
//! the answer that the daemon gave. `now` is the end of the recording; what would have to be measured anew is refused.

mod outlier;
mod record;
mod replay;
mod told;

pub use record::{DEFAULT_RECORD, MAX_BEFORE, MAX_RECORD};
pub(super) use record::{Growing, record};
pub use replay::Replay;
pub(super) use told::recording;
pub use told::{RecordedBrief, RecordingAnswer, RecordingReport};
