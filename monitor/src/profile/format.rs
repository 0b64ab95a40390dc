//! The formats a profile is written in: their names, the endings of their files, their media types.

use std::path::Path;

/// How a profile is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// A flame graph that browsers show, with search and zoom.
    Svg,
    /// Lines for flamegraph.pl, speedscope and others.
    Folded,
    /// What the dashboard draws.
    Json,
    /// Protobuf in gzip, for `go tool pprof`, Pyroscope and Parca.
    Pprof,
    /// JSON for profiler.firefox.com.
    Firefox,
    /// JSON for speedscope.app.
    Speedscope,
}

impl Format {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 6] =
        [Self::Svg, Self::Folded, Self::Json, Self::Pprof, Self::Firefox, Self::Speedscope];

    /// The name in `--format` and in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Svg => "svg",
            Self::Folded => "folded",
            Self::Json => "json",
            Self::Pprof => "pprof",
            Self::Firefox => "firefox",
            Self::Speedscope => "speedscope",
        }
    }

    /// The format of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The format that the ending of a file says, in capitals or not.
    pub fn of_file(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
        let endings = Self::ALL.into_iter().flat_map(|f| f.endings().iter().map(move |e| (f, *e)));
        let fitting = endings.filter(|(_, ending)| {
            // A name that is nothing but the ending is a hidden file without one.
            name.strip_suffix(ending).is_some_and(|stem| !stem.is_empty())
        });
        // The longest: `.firefox.json` is also a `.json`.
        fitting.max_by_key(|(_, ending)| ending.len()).map(|(format, _)| format)
    }

    /// The endings of its files; the first is the usual one.
    pub fn endings(self) -> &'static [&'static str] {
        match self {
            Self::Svg => &[".svg"],
            Self::Folded => &[".folded", ".txt"],
            Self::Json => &[".json"],
            Self::Pprof => &[".pb.gz", ".pprof"],
            Self::Firefox => &[".firefox.json"],
            Self::Speedscope => &[".speedscope.json"],
        }
    }

    /// The media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Svg => "image/svg+xml",
            Self::Folded => "text/plain; charset=utf-8",
            Self::Json | Self::Firefox | Self::Speedscope => "application/json",
            Self::Pprof => "application/octet-stream",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_say_the_format() {
        for (file, format) in [
            ("a.svg", Some(Format::Svg)),
            ("a.SVG", Some(Format::Svg)),
            ("a.txt", Some(Format::Folded)),
            ("b/a.json", Some(Format::Json)),
            ("a.firefox.json", Some(Format::Firefox)),
            ("a.Speedscope.JSON", Some(Format::Speedscope)),
            ("a.pb.gz", Some(Format::Pprof)),
            ("a.pprof", Some(Format::Pprof)),
            ("a.gz", None),
            (".svg", None),
            ("svg", None),
            ("/", None),
        ] {
            assert_eq!(Format::of_file(Path::new(file)), format, "{file}");
        }
    }

    #[test]
    fn names_lead_back() {
        for format in Format::ALL {
            assert_eq!(Format::named(format.name()), Some(format));
        }
        assert_eq!(Format::named("png"), None);
    }
}
