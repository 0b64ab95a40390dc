//! System calls that somebody names, for the architecture this was built for.

use std::str::FromStr;

use monitor_common::syscall::SINGLE_CALLS;
use syscalls::Sysno;

/// Names an error lists.
const NEAR: usize = 5;

/// Calls that are counted one by one: each once, in the order they were named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SingleCalls(Vec<Sysno>);

impl SingleCalls {
    /// Whether none was named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number and the name of each.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &'static str)> {
        self.0.iter().map(|call| (call.id() as usize, call.name()))
    }
}

impl FromStr for SingleCalls {
    type Err = String;

    /// `openat,futex`
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut calls = vec![];
        for name in text.split(',').map(str::trim) {
            let call = Sysno::from_str(name).map_err(|()| unknown(name))?;
            if !calls.contains(&call) {
                calls.push(call);
            }
        }
        if calls.len() > SINGLE_CALLS {
            return Err(format!("{} calls; name {SINGLE_CALLS} at most", calls.len()));
        }
        Ok(Self(calls))
    }
}

fn unknown(name: &str) -> String {
    let is_near =
        |known: &&str| !name.is_empty() && (known.contains(name) || name.starts_with(known));
    let near: Vec<_> = Sysno::iter().map(|call| call.name()).filter(is_near).take(NEAR).collect();
    match &near[..] {
        [] => format!("there is no system call {name:?} here; `man 2 syscalls` lists them"),
        _ => format!("there is no system call {name:?} here; near it: {}", near.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use monitor_common::state::SYSCALL_LIMIT;

    use super::*;

    #[test]
    fn calls_by_name_each_once() {
        let calls: SingleCalls = "openat, futex,openat".parse().unwrap();
        let named: Vec<_> = calls.iter().collect();
        assert_eq!(
            named,
            [(libc::SYS_openat as usize, "openat"), (libc::SYS_futex as usize, "futex")]
        );
    }

    #[test]
    fn what_is_no_call_and_what_is_too_many_is_refused() {
        let refusal = |text: &str| text.parse::<SingleCalls>().unwrap_err();
        assert!(refusal("open_at").contains("open_at"));
        assert!(refusal("futexx").contains("futex"), "{}", refusal("futexx"));
        assert!(refusal("").contains("no system call"));
        let many = "read,write,close,fstat,lseek,mmap,munmap,brk,ioctl";
        assert!(refusal(many).contains("9 calls"));
    }

    #[test]
    fn each_has_a_place_in_the_kernels_table() {
        assert!((Sysno::last().id() as usize) < SYSCALL_LIMIT);
    }
}
