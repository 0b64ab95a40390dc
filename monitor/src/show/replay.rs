//! `cgscope replay`: the daemon's page, API and commands, from a file.

use std::sync::Arc;

use super::{
    failure::{Failure, NOT_FOUND, PRIVILEGE, RUNTIME, USAGE},
    run::{Beside, log, serve_until_asked},
    tape_arguments::ReplayArguments,
};
use crate::{
    serve::{Backend, EngineOptions, bind, runtime_file::Claim, tape::Replay},
    store::tape::TapeError,
};

pub fn replay(arguments: &ReplayArguments) -> Result<(), Failure> {
    log();
    let (listener, address) = bind(arguments.listen)?;
    let mut claim = arguments.state_dir.as_deref().map(Claim::take).transpose()?;
    let replay = Replay::open(&arguments.file)?;
    let Some(told) = replay.recording().cloned() else { return Ok(()) };
    if !told.lost_text.is_empty() {
        tracing::warn!("{}: {}", told.file, told.lost_text);
    }
    if told.windows == 0 {
        tracing::warn!("{} holds no stacks: flame graphs of it are refused", told.file);
    }
    let backend: Arc<dyn Backend> = Arc::new(replay);
    let announce = || {
        if let Some(claim) = &mut claim {
            claim.announce(address)?;
        }
        tracing::info!(
            "replaying {} s of {} ({} measurements, {} windows of stacks)",
            told.to.0.saturating_sub(told.from.0) / 1_000_000_000,
            told.host.escape_debug(),
            told.ticks,
            told.windows,
        );
        tracing::info!("ask it with `cgscope COMMAND --address {address}`");
        Ok(())
    };
    let frequency_hz = EngineOptions::default().frequency_hz;
    let beside = Beside { frequency_hz, ..Beside::default() };
    serve_until_asked(&backend, (listener, address), beside, announce)
}

impl From<TapeError> for Failure {
    fn from(error: TapeError) -> Self {
        use std::io::ErrorKind;
        let (code, remedy) = match &error {
            TapeError::File { source, .. } => match source.kind() {
                ErrorKind::NotFound => (NOT_FOUND, "give a file of `cgscope record -o FILE`"),
                ErrorKind::PermissionDenied => {
                    (PRIVILEGE, "ask whoever recorded it for a copy that you may read")
                }
                _ => (RUNTIME, "give a file of `cgscope record -o FILE`"),
            },
            TapeError::NoTape { .. } => (USAGE, "give a file of `cgscope record -o FILE`"),
            TapeError::Later { .. } => (RUNTIME, "replay it with that version or a later one"),
            TapeError::Empty { .. } => (RUNTIME, "record it again, or copy the file again"),
        };
        Self::new(code, error.to_string(), remedy)
    }
}
