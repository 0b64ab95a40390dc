//! Schemas of what is a text in the code and has a form of its own: lengths of time, instants, names.
//!
//! Contract: names and limits are those of the code that parses them, not copies.

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ObjectBuilder, RefOr, Schema,
        path::{ParameterBuilder, ParameterIn},
        schema::{ArrayBuilder, Type},
    },
};

use monitor_common::outlier::OutlierKind;

use super::describe::Draft;
use crate::{
    metric::{Kind, Unit},
    profile::{Format, ProfileKind, wait_state_names},
    serve::{
        api::unit_name,
        duration::Span,
        options::EngineOptions,
        outliers::DEFAULT_LIMIT,
        params::{DEFAULT_DURATION, MAX_DURATION, MAX_FREQUENCY_HZ},
        past::{DEFAULT_RANGE, DEFAULT_STEP, LEAST_STEP, MAX_RANGE, MAX_STEPS},
        query::{DEFAULT_LISTED, MAX_LISTED},
        tape::{DEFAULT_RECORD, MAX_BEFORE, MAX_RECORD},
    },
    store::query::{Aggregate, Function},
};

/// `10s`, `100ms`, `1m30s`; a bare number is seconds.
const LENGTH: &str = "^ *([0-9.]+(h|min|ms|m|s|us|µs|ns))+ *$|^ *[0-9.]+ *$";
/// `now`, `-90m`, seconds since 1970.
const INSTANT: &str = "^(now|-.+|\\+?[0-9.]+([eE][+-]?[0-9]+)?)$";
/// `label=value`, `label!=value`.
const CONDITION: &str = "^[A-Za-z0-9_]+!?=";

macro_rules! values {
    ($($(#[$doc:meta])* $name:ident = $schema:expr;)*) => {$(
        $(#[$doc])*
        pub struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                $schema.into()
            }
        }

        impl ToSchema for $name {}
    )*};
}

values! {
    /// Length of a window, of which the newest two ticks are the default.
    RecentLength = length();
    /// Length of a window or recording.
    Length = length().default(Some(Span(DEFAULT_DURATION).to_string().into()));
    /// Length of a step of activity.
    ActivityStep = text(LENGTH, ["100ms", "1s"])
        .description(Some(format!("At least {}, and so that at most {MAX_STEPS} make the range.", Span(LEAST_STEP))))
        .default(Some(Span(DEFAULT_STEP).to_string().into()));
    /// Length of a recording, or of a range of the past.
    RecordLength = text(LENGTH, ["30s", "5m"]).description(Some(format!(
        "Of a recording {} when not said, more than 0 and at most {}. Of the past, up to now when there is a `start` and no `end`, else {} \
         when not said, at most {}.",
        Span(DEFAULT_DURATION), Span(MAX_DURATION), Span(DEFAULT_RANGE), Span(MAX_RANGE)
    )));
    /// Length of a recording of everything.
    TapeLength = text(LENGTH, ["1m", "10m"])
        .description(Some(format!("More than 0 and at most {}.", Span(MAX_RECORD))))
        .default(Some(Span(DEFAULT_RECORD).to_string().into()));
    /// What comes before a recording of everything.
    TapeBefore = text(LENGTH, ["30s", "2m"])
        .description(Some(format!("At most {}: more is not in memory.", Span(MAX_BEFORE))));
    /// Length of a step of a question.
    QueryStep = text(&format!("^all$|{LENGTH}"), ["1m", "all"]);
    /// An instant.
    Instant = text(INSTANT, ["-90m", "now", "1767225600.5"]);
    /// Conditions on labels.
    Conditions = ArrayBuilder::new().items(text(CONDITION, ["container=web", "state!=sleeping"]));
    /// Texts separated by commas.
    Texts = ArrayBuilder::new().items(ObjectBuilder::new().schema_type(Type::String));
    /// A process.
    ProcessId = integer(1, None);
    /// A sampling frequency.
    Frequency = integer(1, Some(MAX_FREQUENCY_HZ as usize)).description(Some(format!(
        "When not said what `cgscope run --frequency` says, {} by itself.", EngineOptions::default().frequency_hz
    )));
    /// A share of 1.
    Share = ObjectBuilder::new()
        .schema_type(Type::Number)
        .minimum(Some(0.0))
        .maximum(Some(1.0))
        .default(Some(0.99.into()));
    /// Outliers of one list.
    OutlierLimit = integer(0, None).default(Some(DEFAULT_LIMIT.into()));
    /// Series of one list.
    SeriesLimit = integer(1, Some(MAX_LISTED)).default(Some(DEFAULT_LISTED.into()));
    /// The type of a profile, as parameters name it.
    ProfileType = one_of(ProfileKind::ALL.map(ProfileKind::name))
        .default(Some(ProfileKind::OnCpu.name().into()));
    /// The type of a profile, as answers name it.
    ProfileTypeName = one_of(ProfileKind::ALL.map(ProfileKind::name));
    /// The format of a recording.
    DrawnFormat = one_of(Format::ALL.map(Format::name)).default(Some(Format::Svg.name().into()));
    /// The format of a recording that is kept.
    KeptFormat = one_of(Format::ALL.map(Format::name)).default(Some(Format::Json.name().into()));
    /// The format of a difference.
    DifferenceFormat = one_of([Format::Json, Format::Svg, Format::Folded].map(Format::name))
        .default(Some(Format::Json.name().into()));
    /// States of waits.
    WaitStates = ArrayBuilder::new().items(one_of(wait_state_names()));
    /// The kind of an outlier.
    OutlierKindName = one_of(OutlierKind::ALL.map(OutlierKind::name));
    /// What to make of a step.
    FunctionName = one_of(Function::ALL.map(Function::name));
    /// How series are taken together.
    AggregateName = one_of(Aggregate::ALL.map(Aggregate::name));
    /// The unit of a metric; of a rate, that per second.
    MetricUnit = one_of([Unit::Seconds, Unit::Bytes, Unit::Ratio, Unit::Count].map(unit_name));
    /// The kind of a metric.
    MetricKind = one_of(
        [Kind::Counter, Kind::Gauge, Kind::Distribution].map(|kind| kind.to_string()),
    );
    /// Questions of one request.
    Questions = ArrayBuilder::new()
        .items(text("^(query|buckets)\\?", ["query?metric=cgscope_sched_threads"]))
        .min_items(Some(1))
        .max_items(Some(crate::serve::batch::MAX_ASKED));
}

/// The container that a path is about.
pub fn container(draft: &mut Draft<'_>) {
    let what = "Its name, `pod/name`, unit without its ending or cgroup path, or its id or the beginning of it.";
    segment(draft, "id", what, ObjectBuilder::new().schema_type(Type::String));
}

/// The process that a path is about.
pub fn process(draft: &mut Draft<'_>) {
    segment(draft, "pid", "Its id in the initial pid namespace.", integer(1, None));
}

/// The recording that a path is about.
pub fn recording(draft: &mut Draft<'_>) {
    let what = "Its id, of the header `x-cgscope-profile` or of `/api/v1/profiles`.";
    segment(draft, "id", what, ObjectBuilder::new().schema_type(Type::String));
}

/// The label that a path is about.
pub fn label(draft: &mut Draft<'_>) {
    segment(draft, "label", "Its name.", ObjectBuilder::new().schema_type(Type::String));
}

/// What stands for a variable segment of the path.
pub(super) fn segment(draft: &mut Draft<'_>, name: &str, what: &str, schema: ObjectBuilder) {
    let parameter = ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(utoipa::openapi::Required::True)
        .description(Some(what))
        .schema(Some(schema));
    draft.parameter(parameter.build());
}

pub(super) fn text<const N: usize>(pattern: &str, examples: [&str; N]) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern)).examples(examples)
}

pub(super) fn integer(least: usize, most: Option<usize>) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(least)).maximum(most)
}

fn length() -> ObjectBuilder {
    text(LENGTH, ["10s", "1m30s"])
        .description(Some(format!("More than 0, at most {}.", Span(MAX_DURATION))))
}

fn one_of<T: Into<serde_json::Value>>(names: impl IntoIterator<Item = T>) -> ObjectBuilder {
    let names: Vec<serde_json::Value> = names.into_iter().map(Into::into).collect();
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use regex::Regex;

    use super::*;
    use crate::serve::query_params::instant_ms;

    #[test]
    fn what_is_parsed_meets_its_pattern() {
        let (length, instant) = (Regex::new(LENGTH).unwrap(), Regex::new(INSTANT).unwrap());
        for text in
            ["10s", "100ms", "1m30s", "250us", "3µs", "2h", " 3s ", "1min", "10", "0.1", ".5", ""]
        {
            assert_eq!(text.parse::<Span>().is_ok(), length.is_match(text), "{text:?}");
        }
        for text in ["s", "10x", "-1s", "1s2", "1e9s", "nan", "∞"] {
            assert!(text.parse::<Span>().is_err() && !length.is_match(text), "{text:?}");
        }
        for text in [
            "now",
            "-1h30m",
            "-5",
            "1767225600.5",
            "1e9",
            "0",
            "+5",
            "",
            "yesterday",
            "nan",
            "inf",
            "2026-01-01",
        ] {
            assert_eq!(instant_ms(text, u64::MAX).is_ok(), instant.is_match(text), "{text:?}");
        }
    }

    #[test]
    fn spans_as_they_are_printed_meet_the_pattern() {
        let length = Regex::new(LENGTH).unwrap();
        for ns in [0, 1, 1_000, 1_500_000, 61_000_000_000, 3_600_000_000_001] {
            let text = Span(Duration::from_nanos(ns)).to_string();
            assert!(length.is_match(&text), "{text}");
        }
    }
}
