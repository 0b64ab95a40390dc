//! The numbers by which the kernel names tasks and CPUs, one type each so that they cannot be mixed up.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone,
            Copy,
            Debug,
            PartialEq,
            Eq,
            Hash,
            PartialOrd,
            Ord,
            Serialize,
            Deserialize,
            ToSchema,
        )]
        #[serde(transparent)]
        pub struct $name(pub u32);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<u32> for $name {
            fn from(number: u32) -> Self {
                Self(number)
            }
        }
    };
}

id! {
    /// A process, as the kernel names it: the thread group id in the initial PID namespace
    /// (what user space calls a pid). Reused after the process is gone.
    Tgid
}
id! {
    /// A thread in the initial PID namespace (what the kernel calls a pid).
    Tid
}
id! {
    /// A logical CPU, as numbered in `/sys/devices/system/cpu`.
    CpuId
}
