//! Flags and environment of what is pushed to others.

use std::{fs, time::Duration};

use clap::Args;

use super::{
    engine_arguments::duration,
    failure::{Failure, USAGE},
    history_arguments::HistoryArguments,
};
use crate::serve::{
    duration::Span,
    push::{OtlpOptions, ProfilePushOptions, ProfileReceiver, PushOptions},
};

/// Where metrics and profiles are pushed to.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Push")]
pub struct PushArguments {
    /// Push metrics to this receiver of Prometheus remote write, like http://mimir:9009/api/v1/push
    #[arg(long, value_name = "URL", env = "CGSCOPE_REMOTE_WRITE", value_parser = url)]
    pub remote_write: Option<String>,

    /// Time between two pushes, from 1s up
    #[arg(long, value_name = "TIME", default_value = "15s", env = "CGSCOPE_REMOTE_WRITE_INTERVAL", value_parser = duration,
          requires = "remote_write")]
    pub remote_write_interval: Span,

    /// A label for every series that has none of that name; may be given again [default: job=cgscope and instance=HOSTNAME]
    #[arg(long, value_name = "NAME=VALUE", value_parser = label, requires = "remote_write")]
    pub remote_write_label: Vec<(String, String)>,

    /// A header of every request, like 'Authorization: Bearer TOKEN'. In the environment it is not seen by others
    #[arg(long, value_name = "NAME: VALUE", env = "CGSCOPE_REMOTE_WRITE_HEADER", hide_env_values = true,
          value_parser = header, requires = "remote_write")]
    pub remote_write_header: Vec<(String, String)>,

    /// Push metrics to this receiver of OTLP over HTTP, like http://collector:4318
    #[arg(long, value_name = "URL", env = "CGSCOPE_OTLP", value_parser = url)]
    pub otlp: Option<String>,

    /// Time between two pushes by OTLP, from 1s up
    #[arg(long, value_name = "TIME", default_value = "15s", env = "CGSCOPE_OTLP_INTERVAL", value_parser = duration,
          requires = "otlp")]
    pub otlp_interval: Span,

    /// An attribute of every resource; may be given again [default: host.name=HOSTNAME]
    #[arg(long, value_name = "NAME=VALUE", value_parser = attribute, requires = "otlp")]
    pub otlp_attribute: Vec<(String, String)>,

    /// A header of every request by OTLP, like 'Authorization: Bearer TOKEN'. In the environment it is not seen by others
    #[arg(long, value_name = "NAME: VALUE", env = "CGSCOPE_OTLP_HEADER", hide_env_values = true,
          value_parser = header, requires = "otlp")]
    pub otlp_header: Vec<(String, String)>,

    /// Push the profiles that --keep-profiles keeps to this Pyroscope, Parca or collector, like http://pyroscope:4040
    #[arg(long, value_name = "URL", env = "CGSCOPE_PUSH_PROFILES", value_parser = url)]
    pub push_profiles: Option<String>,

    /// Who is there: pyroscope, parca, or otlp, whose profiles are in development: versions may not understand each other
    #[arg(long, value_name = "RECEIVER", default_value = "pyroscope", env = "CGSCOPE_PUSH_PROFILES_TO", value_parser = receiver,
          requires = "push_profiles")]
    pub push_profiles_to: ProfileReceiver,

    /// A label for every series of profiles that has none of that name, to otlp an attribute of every resource; may be given again
    /// [default: job=cgscope and instance=HOSTNAME, to otlp host.name=HOSTNAME]
    #[arg(long, value_name = "NAME=VALUE", value_parser = attribute, requires = "push_profiles")]
    pub push_profiles_label: Vec<(String, String)>,

    /// A header of every request with profiles, like 'X-Scope-OrgID: team-a'. In the environment it is not seen by others
    #[arg(long, value_name = "NAME: VALUE", env = "CGSCOPE_PUSH_PROFILES_HEADER", hide_env_values = true,
          value_parser = header, requires = "push_profiles")]
    pub push_profiles_header: Vec<(String, String)>,
}

impl PushArguments {
    /// As the engine takes them; `None` pushes nothing.
    pub fn options(&self) -> Option<PushOptions> {
        let url = self.remote_write.clone()?;
        let labels = with_usual(&self.remote_write_label);
        let headers = self.remote_write_header.clone();
        let interval = self.remote_write_interval.0.max(Duration::from_secs(1));
        Some(PushOptions { url, interval, labels, headers })
    }

    /// As the engine takes them; `None` pushes nothing by OTLP.
    pub fn otlp(&self) -> Option<OtlpOptions> {
        let attributes = with_defaults(&self.otlp_attribute, &[("host.name", &hostname())]);
        Some(OtlpOptions {
            url: self.otlp.clone()?,
            interval: self.otlp_interval.0.max(Duration::from_secs(1)),
            attributes,
            headers: self.otlp_header.clone(),
        })
    }

    /// As the engine takes them; `None` pushes no profiles.
    pub fn profiles(&self) -> Option<ProfilePushOptions> {
        Some(ProfilePushOptions {
            url: self.push_profiles.clone()?,
            receiver: self.push_profiles_to,
            labels: match self.push_profiles_to {
                ProfileReceiver::Otlp => {
                    with_defaults(&self.push_profiles_label, &[("host.name", &hostname())])
                }
                _ => with_usual(&self.push_profiles_label),
            },
            headers: self.push_profiles_header.clone(),
        })
    }

    /// That what is to be pushed is there, and that its receiver takes names as they are given.
    ///
    /// # Errors
    /// That no profiles are kept, or that a label is none.
    pub fn check(&self, history: &HistoryArguments) -> Result<(), Failure> {
        if self.push_profiles_to != ProfileReceiver::Otlp {
            for (name, value) in &self.push_profiles_label {
                label(&format!("{name}={value}")).map_err(|remedy| {
                    let what = format!("{name} is no label of profiles");
                    Failure::new(USAGE, what, remedy)
                })?;
            }
        }
        if self.push_profiles.is_none() || (history.keep_profiles > 0 && !history.no_history) {
            return Ok(());
        }
        let what = "--push-profiles pushes what is kept, and no profiles are kept";
        Err(Failure::new(USAGE, what, "add --keep-profiles 19, without --no-history"))
    }
}

/// The labels that were given, and whose series they are.
fn with_usual(given: &[(String, String)]) -> Vec<(String, String)> {
    with_defaults(given, &[("job", "cgscope"), ("instance", &hostname())])
}

fn with_defaults(given: &[(String, String)], usual: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut all = given.to_vec();
    for (name, value) in usual {
        if !given.iter().any(|(given, _)| given == name) {
            all.push(((*name).to_owned(), (*value).to_owned()));
        }
    }
    all
}

fn hostname() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

fn receiver(text: &str) -> Result<ProfileReceiver, String> {
    let found = ProfileReceiver::ALL.into_iter().find(|receiver| receiver.name() == text);
    found.ok_or_else(|| "give pyroscope, parca or otlp".to_owned())
}

fn url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    match rest {
        Some(rest) if !rest.is_empty() && !rest.starts_with('/') => Ok(text.to_owned()),
        _ => Err("give a whole address, like http://127.0.0.1:9090/api/v1/write".to_owned()),
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    let wrong = || "give NAME=VALUE, the name of letters, digits and _".to_owned();
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    let mut chars = name.chars();
    let is_begin = |c: char| c.is_ascii_alphabetic() || c == '_';
    let is_name = chars.next().is_some_and(is_begin)
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !name.starts_with("__");
    if is_name { Ok((name.to_owned(), value.to_owned())) } else { Err(wrong()) }
}

fn attribute(text: &str) -> Result<(String, String), String> {
    let wrong = || "give NAME=VALUE, like deployment.environment.name=production".to_owned();
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    let is_whole = name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(is_name);
    if is_whole { Ok((name.to_owned(), value.to_owned())) } else { Err(wrong()) }
}

fn header(text: &str) -> Result<(String, String), String> {
    let wrong = || "give NAME: VALUE, like 'X-Scope-OrgID: team-a'".to_owned();
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    let (name, value) = (name.trim(), value.trim());
    let is_whole = !name.is_empty() && name.chars().all(is_name);
    if is_whole && !value.is_empty() && !value.contains(char::is_control) {
        Ok((name.to_owned(), value.to_owned()))
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_and_what_is_not() {
        assert!(url("https://mimir.example/api/v1/push").is_ok());
        for wrong in ["", "http://", "mimir:9009", "ftp://a", "http:///x"] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
        assert_eq!(label("zone=eu=1"), Ok(("zone".to_owned(), "eu=1".to_owned())));
        for wrong in ["zone", "=x", "1a=x", "a-b=x", "__name__=x"] {
            assert!(label(wrong).is_err(), "{wrong}");
        }
        let zone = attribute("cloud.availability_zone=eu=1");
        assert_eq!(zone, Ok(("cloud.availability_zone".to_owned(), "eu=1".to_owned())));
        for wrong in ["zone", "=x", ".a=x", "a b=x"] {
            assert!(attribute(wrong).is_err(), "{wrong}");
        }
        let token = header("Authorization: Bearer a:b");
        assert_eq!(token, Ok(("Authorization".to_owned(), "Bearer a:b".to_owned())));
        for wrong in ["Authorization", "a b: c", ": c", "a:", "a: b\r\nc: d"] {
            assert!(header(wrong).is_err(), "{wrong:?}");
        }
    }
}
