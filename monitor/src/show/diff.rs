//! `cgscope diff`: what changed between two profiles.
//!
//! Files are read before anything is recorded; what is recorded is recorded in order, A before B.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
};

use super::{
    client::{Client, path},
    destination::{Destination, is_special},
    diff_arguments::{DiffArguments, Source},
    failure::{Failure, RUNTIME, USAGE},
    program::Engine,
    progress::Progress,
};
use crate::{
    profile::{Diff, DiffError, DiffFormat, Format, Recording, Scale},
    serve::EngineOptions,
};

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 30;

pub fn diff(engine: Engine, arguments: &DiffArguments) -> Result<(), Failure> {
    let output = arguments.output.clone().unwrap_or_else(|| {
        let ending = match arguments.format {
            None | Some(DiffFormat::Svg) => "svg",
            Some(DiffFormat::Folded) => "folded",
            Some(DiffFormat::Json) => "json",
        };
        format!("diff.{ending}").into()
    });
    let format = format_of(arguments.format, &output)?;
    let destination = Destination::check(&output)?;
    let sources = [("A", &arguments.a), ("B", &arguments.b)];
    let mut sides: Vec<Option<Recording>> = Vec::new();
    for (_, source) in sources {
        sides.push(match source {
            Source::File(path) => Some(read(path)?),
            _ => None,
        });
    }
    if sides.iter().any(Option::is_none) {
        let default_hz = EngineOptions::default().frequency_hz;
        let options = arguments.engine.options(arguments.frequency.unwrap_or(default_hz));
        let client = Client::connect(&arguments.connect, engine, options)?;
        for (side, (letter, source)) in sides.iter_mut().zip(sources) {
            if side.is_none() {
                *side = Some(record(&client, arguments, letter, source)?);
            }
        }
    }
    let [Some(a), Some(b)] = &sides[..] else {
        return Err(Failure::new(RUNTIME, "two profiles are compared", ""));
    };
    for note in a.notes.iter().chain(&b.notes) {
        // With stderr gone there is nobody to tell.
        let _ = writeln!(io::stderr(), "note: {note}");
    }
    let scale = if arguments.absolute { Scale::Absolute } else { Scale::Total };
    let drawing = Diff::between(a, b, scale).and_then(|diff| diff.render(format)).map_err(told)?;
    destination.write(&drawing)?;
    destination.tell(drawing.len());
    Ok(())
}

fn record(
    client: &Client,
    arguments: &DiffArguments,
    letter: &str,
    source: &Source,
) -> Result<Recording, Failure> {
    let mut query = source.query().unwrap_or_default();
    query.push(("duration", arguments.duration.to_string()));
    query.push(("format", Format::Json.name().to_owned()));
    query.extend(arguments.frequency.map(|hz| ("frequency", hz.to_string())));
    let _progress = Progress::start(letter, arguments.duration.0);
    let answer = client.bytes(&path(&["flamegraph"], &query), arguments.duration.0)?;
    let name = format!("{letter}, {}", source.name());
    Recording::read(&name, &answer).map_err(|error| {
        let remedy = "use the daemon and the command of one version";
        Failure::new(RUNTIME, format!("cannot read the recording of {name}: {error}"), remedy)
    })
}

fn read(path: &Path) -> Result<Recording, Failure> {
    // Names of files and what stands in them are other people's text.
    let name = path.display().to_string().escape_debug().to_string();
    let unreadable = |error: io::Error| {
        let remedy = "name a file, or container:NAME, pid:PID or host to record one";
        Failure::new(RUNTIME, format!("cannot read {name}: {error}"), remedy)
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let what = format!("{name} has more than {} MB", FILE_BYTES_MAX >> 20);
        return Err(Failure::new(RUNTIME, what, "aggregate it first, as folded lines"));
    }
    Recording::read(&name, &bytes).map_err(|error| {
        let remedy = "it has to be folded lines, the text of perf script, pprof, or JSON of cgscope flamegraph";
        Failure::new(RUNTIME, format!("cannot read {name} as a profile: {error}"), remedy)
    })
}

fn told(error: DiffError) -> Failure {
    let (code, remedy) = match &error {
        DiffError::Units { .. } => (USAGE, "compare two of a kind"),
        DiffError::Empty(_) => (RUNTIME, "record for longer, or while it runs"),
        DiffError::Svg(_) | DiffError::Json(_) => (RUNTIME, "ask for another format"),
    };
    Failure::new(code, error.to_string(), remedy)
}

/// The format that was asked for, or that the ending of the output stands for.
fn format_of(asked: Option<DiffFormat>, output: &Path) -> Result<DiffFormat, Failure> {
    if let Some(format) = asked {
        return Ok(format);
    }
    if output == Path::new("-") {
        return Ok(DiffFormat::Folded);
    }
    match Format::of_file(output) {
        Some(Format::Svg) => Ok(DiffFormat::Svg),
        Some(Format::Folded) => Ok(DiffFormat::Folded),
        Some(Format::Json) => Ok(DiffFormat::Json),
        None if is_special(output) => Ok(DiffFormat::Svg),
        _ => Err(Failure::new(
            USAGE,
            format!("{} says no format of a difference", output.display()),
            "end it in .svg, .folded, .txt or .json, or say --format",
        )),
    }
}
