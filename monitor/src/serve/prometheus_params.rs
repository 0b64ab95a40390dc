//! Parameters of Prometheus' HTTP API, of the address and of a form alike.
//!
//! Contract: what is not known is left alone, as Prometheus does: clients send more than they need.

use std::time::Duration;

use axum::{
    Form,
    extract::{FromRequest, Query, Request},
    http::Method,
};

use super::prometheus_api::Failure;
use crate::{
    container::rfc3339,
    promql::{self, Condition, Limits, PromqlError, selector},
};

/// Selectors in one request.
pub(super) const MAX_SELECTORS: usize = 64;
/// The year 5138: beyond, numbers are no times any more but mistakes.
const MAX_TIME_S: f64 = 1e11;

/// Names and values, in the order in which they came.
#[derive(Debug)]
pub struct Fields(Vec<(String, String)>);

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        type Pairs = Vec<(String, String)>;
        let Query(mut pairs) = Query::<Pairs>::try_from_uri(request.uri())
            .map_err(|rejection| Failure::rejected(rejection.status(), rejection.body_text()))?;
        if request.method() == Method::POST {
            let Form(form) = Form::<Pairs>::from_request(request, state)
                .await
                .map_err(|r| Failure::rejected(r.status(), r.body_text()))?;
            pairs.extend(form);
        }
        Ok(Self(pairs))
    }
}

impl Fields {
    /// The last value of a name; an empty one is none.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().rev().find(|(n, value)| n == name && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    }

    /// A value that must be there.
    pub fn needed(&self, name: &str) -> Result<&str, PromqlError> {
        self.get(name).ok_or_else(|| invalid(name, "it is missing"))
    }

    /// An instant, ms; `None` when it is not there.
    pub fn time_ms(&self, name: &str) -> Result<Option<i64>, PromqlError> {
        self.get(name)
            .map(|text| time_ms(text).ok_or_else(|| not_a(name, text, "timestamp")))
            .transpose()
    }

    /// A length of time, ms; `None` when it is not there.
    pub fn span_ms(&self, name: &str) -> Result<Option<i64>, PromqlError> {
        self.get(name)
            .map(|text| span_ms(text).ok_or_else(|| not_a(name, text, "duration")))
            .transpose()
    }

    /// How long an answer may take.
    pub fn limits(&self) -> Result<Limits, PromqlError> {
        let mut limits = Limits::default();
        if let Some(ms) = self.span_ms("timeout")? {
            limits.time = limits.time.min(Duration::from_millis(ms.max(0) as u64));
        }
        Ok(limits)
    }

    /// The most entries of a list.
    pub fn limit(&self) -> Result<usize, PromqlError> {
        match self.get("limit") {
            None | Some("0") => Ok(usize::MAX),
            Some(text) => text.parse().map_err(|_| not_a("limit", text, "number")),
        }
    }

    /// The selectors of `match[]`.
    pub fn selectors(&self, limits: &Limits) -> Result<Vec<Condition>, PromqlError> {
        let texts = self.0.iter().filter(|(name, _)| name == "match[]" || name == "match");
        let texts: Vec<&String> = texts.map(|(_, value)| value).collect();
        if texts.len() > MAX_SELECTORS {
            return Err(invalid("match[]", &format!("more than {MAX_SELECTORS} of them")));
        }
        texts.into_iter().map(|text| selector(text, limits)).collect()
    }
}

fn invalid(name: &str, what: &str) -> PromqlError {
    PromqlError::bad_data(format!("invalid parameter {name:?}: {what}"))
}

fn not_a(name: &str, text: &str, what: &str) -> PromqlError {
    let shown: String = text.chars().take(100).collect();
    invalid(name, &format!("cannot parse {shown:?} to a valid {what}"))
}

/// Seconds since 1970, or a date and time as RFC 3339 has it.
fn time_ms(text: &str) -> Option<i64> {
    let seconds: f64 = match text.parse() {
        Ok(seconds) => seconds,
        Err(_) => return Some((rfc3339::parse(text)?.0 / 1_000_000) as i64),
    };
    (-MAX_TIME_S..=MAX_TIME_S).contains(&seconds).then(|| (seconds * 1e3).round() as i64)
}

/// Seconds, or numbers with units: `1h30m`.
fn span_ms(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        let is_span = (-MAX_TIME_S..=MAX_TIME_S).contains(&seconds);
        return is_span.then(|| (seconds * 1e3).round() as i64);
    }
    let total = promql::span_ms(text)?;
    (0..=(MAX_TIME_S * 1e3) as i64).contains(&total).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(time_ms("1767225600.123"), Some(1_767_225_600_123));
        assert_eq!(time_ms("2026-01-01T00:00:00Z"), Some(1_767_225_600_000));
        assert_eq!(time_ms("2026-01-01T01:30:00.5+01:30"), Some(1_767_225_600_500));
        assert_eq!(time_ms("2024-02-29T12:00:00Z"), Some(1_709_208_000_000));
        for wrong in [
            "",
            "now",
            "nan",
            "inf",
            "1e300",
            "2026-01-01",
            "2026-13-01T00:00:00Z",
            "TZ",
            "-T-Z",
            "é",
        ] {
            assert_eq!(time_ms(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn spans() {
        assert_eq!(span_ms("15"), Some(15_000));
        assert_eq!(span_ms("0.5"), Some(500));
        assert_eq!(span_ms("1h30m"), Some(5_400_000));
        assert_eq!(span_ms("100ms"), Some(100));
        for wrong in
            ["x", "5", "99999999999999999y", "1h99999999999999999999s", "m", "nan", "1e300"]
        {
            assert!(span_ms(wrong).is_none() == (wrong != "5"), "{wrong}");
        }
    }
}
