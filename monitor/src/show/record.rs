//! `cgscope record`: everything for a while, into a file.
//!
//! Contract: the file grows while it is recorded, so that whatever ends the command, what it has can be replayed.

use std::{
    fs::File,
    io::{self, IsTerminal, Write},
    path::Path,
    time::Duration,
};

use super::{
    client::{Client, path},
    destination::unwritable,
    failure::{Failure, RUNTIME, USAGE},
    number,
    program::Engine,
    progress::Progress,
    tape_arguments::RecordArguments,
};
use crate::serve::EngineOptions;

pub fn record(engine: Engine, arguments: &RecordArguments) -> Result<(), Failure> {
    let output = &arguments.output;
    let is_stdout = output == Path::new("-");
    if is_stdout && io::stdout().is_terminal() {
        let remedy = "redirect it to a file, or use -o FILE";
        return Err(Failure::new(USAGE, "a recording is binary, and stdout is a terminal", remedy));
    }
    let options = arguments.engine.options(EngineOptions::default().frequency_hz);
    let client = match arguments.flight {
        false => Client::connect(&arguments.connect, engine, options)?,
        true => Client::daemon(&arguments.connect).ok_or_else(|| {
            let remedy =
                "run one: `cgscope run --flight-recorder 32M`, or name it: --address IP:PORT";
            Failure::new(RUNTIME, "no daemon runs here: nothing has been remembered", remedy)
        })?,
    };
    let (path, duration) = if arguments.flight {
        (path(&["flight"], &[]), Duration::ZERO)
    } else {
        let mut query = vec![("duration", arguments.duration.to_string())];
        query.extend(arguments.before.map(|before| ("before", before.to_string())));
        (path(&["record"], &query), arguments.duration.0)
    };
    let progress = (!arguments.flight).then(|| Progress::start("", duration));
    let mut file: Option<File> = None;
    let mut written = 0u64;
    let outcome = client.each_part(&path, duration, &mut |part| {
        written += part.len() as u64;
        if is_stdout {
            return Ok(io::stdout().lock().write_all(part)?);
        }
        // Only now, so that a refusal leaves alone what was there.
        let file = match &mut file {
            Some(file) => file,
            None => file.insert(File::create(output).map_err(|error| unwritable(output, &error))?),
        };
        file.write_all(part).map_err(|error| unwritable(output, &error))
    });
    drop(progress);
    outcome?;
    if let Some(file) = file {
        // A full disk may tell only now.
        file.sync_all().or_else(not_a_file).map_err(|error| unwritable(output, &error))?;
        if io::stderr().is_terminal() {
            let size = number::bytes(written as f64);
            // With stderr gone there is nobody to tell.
            let _ = writeln!(io::stderr(), "wrote {} ({size})", output.display());
        }
    }
    Ok(())
}

/// A pipe or a device cannot be synced, and needs not be.
fn not_a_file(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::InvalidInput { Ok(()) } else { Err(error) }
}
