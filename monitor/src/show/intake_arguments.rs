//! Flags and environment of what applications post.

use std::path::PathBuf;

use clap::Args;

use crate::serve::intake::IntakeOptions;

/// Where applications post their own measurements.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Posts of applications")]
pub struct IntakeArguments {
    /// Take measurements that applications post to this Unix socket, like /run/cgscope/intake/post.sock. Whoever sees it may post
    #[arg(long, value_name = "PATH", env = "CGSCOPE_INTAKE")]
    pub intake: Option<PathBuf>,

    /// Series that applications may have, all together; one container may have a quarter of them
    #[arg(long, value_name = "N", default_value = "2000", env = "CGSCOPE_INTAKE_SERIES",
          value_parser = clap::value_parser!(u32).range(4..=100_000), requires = "intake")]
    pub intake_series: u32,
}

impl IntakeArguments {
    /// As the engine takes them; `None` takes nothing.
    pub fn options(&self) -> Option<IntakeOptions> {
        let max_series = self.intake_series as usize;
        Some(IntakeOptions { socket: self.intake.clone()?, max_series })
    }
}
