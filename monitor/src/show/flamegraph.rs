//! `cgscope flamegraph`: records stacks and writes the drawing.

use std::{
    io::{self, IsTerminal},
    path::Path,
    time::Duration,
};

use super::{
    arguments::FlamegraphArguments,
    client::{Client, path},
    destination::{Destination, is_special},
    failure::{Failure, RUNTIME, USAGE},
    program::Engine,
    progress::Progress,
};
use crate::{
    profile::{Format, ProfileKind, wait_states},
    serve::EngineOptions,
};

/// A week of a large host is a thousand files.
const PAST_PATIENCE: Duration = Duration::from_secs(60);

pub fn flamegraph(engine: Engine, arguments: &FlamegraphArguments) -> Result<(), Failure> {
    let output = arguments.output.clone().unwrap_or_else(|| {
        let ending = arguments.format.unwrap_or(Format::Svg).endings()[0];
        format!("flamegraph{ending}").into()
    });
    let format = format_of(arguments.format, &output)?;
    let destination = Destination::check(&output)?;
    if format == Format::Pprof && destination == Destination::Stdout && io::stdout().is_terminal() {
        let remedy = "redirect it to a file, or use -o FILE.pb.gz";
        return Err(Failure::new(USAGE, "pprof is binary, and stdout is a terminal", remedy));
    }
    let kind = arguments.r#type;
    if kind != ProfileKind::OnCpu && arguments.frequency.is_some() {
        let remedy = "leave --frequency out, or --type";
        let what = format!("{} are not sampled at a frequency", kind.things());
        return Err(Failure::new(USAGE, what, remedy));
    }
    if let Some(states) = &arguments.state {
        if !kind.has_states() {
            let what = format!("a recording of the type {} has no states", kind.name());
            return Err(Failure::new(USAGE, what, "leave --state out, or say --type offcpu"));
        }
        wait_states(states).map_err(|what| Failure::new(USAGE, what, "see `cgscope states`"))?;
    }
    let default_hz = EngineOptions::default().frequency_hz;
    let options = arguments.engine.options(arguments.frequency.unwrap_or(default_hz));
    let client = match &arguments.start {
        None => Client::connect(&arguments.connect, engine, options)?,
        Some(_) => Client::daemon(&arguments.connect).ok_or_else(|| {
            let remedy = "start one with `sudo cgscope run`, or leave --start out to record";
            Failure::new(RUNTIME, "a daemon keeps the past, and none runs here", remedy)
        })?,
    };
    let mut query = arguments.target.query();
    query.extend(arguments.start.clone().map(|start| ("start", start)));
    query.extend(arguments.against.clone().map(|start| ("against", start)));
    query.push(match &arguments.end {
        Some(end) => ("end", end.clone()),
        None => ("duration", arguments.duration.to_string()),
    });
    query.push(("type", kind.name().to_owned()));
    query.extend(arguments.state.clone().map(|states| ("state", states)));
    query.push(("format", format.name().to_owned()));
    query.extend(arguments.frequency.map(|hz| ("frequency", hz.to_string())));
    let path = path(&["flamegraph"], &query);
    let drawing = if arguments.start.is_some() {
        client.bytes(&path, PAST_PATIENCE)?
    } else {
        let _progress = Progress::start("", arguments.duration.0);
        client.bytes(&path, arguments.duration.0)?
    };
    destination.write(&drawing)?;
    destination.tell(drawing.len());
    Ok(())
}

/// The format that was asked for, or that the ending of the output stands for.
fn format_of(asked: Option<Format>, output: &Path) -> Result<Format, Failure> {
    if let Some(format) = asked {
        return Ok(format);
    }
    if output == Path::new("-") {
        return Ok(Format::Folded);
    }
    match Format::of_file(output) {
        Some(format) => Ok(format),
        None if is_special(output) => Ok(Format::Svg),
        None => Err(Failure::new(
            USAGE,
            format!("{} says no format", output.display()),
            format!(
                "end it in {}, or say --format",
                Format::ALL.map(|format| format.endings()[0]).join(", ")
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings() {
        for (output, format) in [
            ("a.svg", Format::Svg),
            ("a.txt", Format::Folded),
            ("b/a.json", Format::Json),
            ("a.pb.gz", Format::Pprof),
            ("a.firefox.json", Format::Firefox),
            ("-", Format::Folded),
        ] {
            assert_eq!(format_of(None, Path::new(output)).unwrap(), format, "{output}");
            assert_eq!(format_of(Some(Format::Json), Path::new(output)).unwrap(), Format::Json);
        }
        for output in ["a", "a.png", "svg", "/tmp"] {
            let told = format_of(None, Path::new(output)).unwrap_err().to_string();
            assert!(told.contains(".speedscope.json") && told.contains("--format"), "{told}");
        }
    }
}
