//! The arguments of `cgscope diff`.

use std::{path::PathBuf, str::FromStr};

use clap::Args;

use super::{
    arguments::ConnectArguments,
    engine_arguments::{EngineArguments, duration, frequency},
};
use crate::{profile::DiffFormat, serve::duration::Span};

/// What to compare, and how to write it.
#[derive(Args, Debug)]
pub struct DiffArguments {
    /// What it was: FILE, container:NAME, pid:PID or host
    #[arg(value_name = "A")]
    pub a: Source,

    /// What it is now
    #[arg(value_name = "B")]
    pub b: Source,

    /// Where to write it; .svg, .folded, .txt or .json says as what, - is stdout as folded lines [default: diff.svg, or
    /// with the ending of --format]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// As what to write it: svg, folded or json [default: by the ending of the output]
    #[arg(long, value_name = "FORMAT", value_parser = format)]
    pub format: Option<DiffFormat>,

    /// Compare weights as they are; else A is scaled to B's total
    #[arg(long)]
    pub absolute: bool,

    /// For how long to record what is no file
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub duration: Span,

    /// Samples per second and CPU of what is recorded [default: 99, or the daemon's]
    #[arg(long, value_name = "HZ", value_parser = frequency)]
    pub frequency: Option<u32>,

    #[command(flatten)]
    pub connect: ConnectArguments,

    #[command(flatten)]
    pub engine: EngineArguments,
}

/// One side of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// A container, to be recorded.
    Container(String),
    /// A process, to be recorded.
    Process(u32),
    /// The host, to be recorded.
    Host,
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            _ if text.is_empty() => Err("name a file, container:NAME, pid:PID or host".to_owned()),
            None if text == "host" => Ok(Self::Host),
            Some(("container", "")) => Err("name the container: container:web".to_owned()),
            Some(("container", name)) => Ok(Self::Container(name.to_owned())),
            Some(("pid", pid)) => match pid.parse() {
                Ok(pid @ 1..=4_194_304) => Ok(Self::Process(pid)),
                _ => Err(format!("{pid:?} is no process id; for a file of that name say ./{text}")),
            },
            _ => Ok(Self::File(text.into())),
        }
    }
}

impl Source {
    /// As parameters of a recording; `None` for a file.
    pub fn query(&self) -> Option<Vec<(&'static str, String)>> {
        match self {
            Self::File(_) => None,
            Self::Container(name) => Some(vec![("container", name.clone())]),
            Self::Process(pid) => Some(vec![("pid", pid.to_string())]),
            Self::Host => Some(vec![]),
        }
    }

    /// The name, for people.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Container(name) => format!("container {name}"),
            Self::Process(pid) => format!("process {pid}"),
            Self::Host => "host".to_owned(),
        }
    }
}

fn format(name: &str) -> Result<DiffFormat, String> {
    match name {
        "svg" => Ok(DiffFormat::Svg),
        "folded" => Ok(DiffFormat::Folded),
        "json" => Ok(DiffFormat::Json),
        _ => Err("it is none of svg, folded, json".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources() {
        for (text, source) in [
            ("a.folded", Source::File("a.folded".into())),
            ("./host", Source::File("./host".into())),
            ("host", Source::Host),
            ("container:web", Source::Container("web".into())),
            ("container:a:b", Source::Container("a:b".into())),
            ("pid:7", Source::Process(7)),
            ("x:y", Source::File("x:y".into())),
        ] {
            assert_eq!(text.parse(), Ok(source), "{text}");
        }
        for text in ["", "container:", "pid:", "pid:0", "pid:-1", "pid:4194305"] {
            assert!(text.parse::<Source>().is_err(), "{text}");
        }
    }
}
