//! Recording to a file and serving from it: `/api/v1/record` writes a [tape](crate::store::tape) of what comes, [`Flight`] keeps one of what
//! was, and [`Replay`] is a daemon whose measurements come from one.
//!
//! What is asked of a replay is answered by the same code over what was recorded, so a question about the recorded time has
//! the answer that the daemon gave. `now` is the end of the recording; what would have to be measured anew is refused.

mod events;
mod file;
mod flight;
mod outlier;
mod record;
mod replay;
mod sections;
mod told;

pub(super) use file::TapeFile;
pub(super) use flight::flight;
pub use flight::{DESCRIPTORS, Flight, FlightDirectory, FlightError, FlightUse, Frozen};
pub(super) use record::record;
pub use record::{DEFAULT_RECORD, MAX_BEFORE, MAX_RECORD};
pub use replay::Replay;
pub(super) use told::recording;
pub use told::{RecordedBrief, RecordingAnswer, RecordingReport};
