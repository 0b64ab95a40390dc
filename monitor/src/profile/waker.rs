//! Who ended a wait: a thread, or an interrupt, which is told by the kernel's frames.
//!
//! Contract: whoever is interrupted is not charged with what the interrupt does. A softirq that a thread runs itself as it switches them on again
//! (it sends to a local socket, say) is the thread's doing, as in every other graph.

use std::sync::Arc;

use super::document::Sample;
use crate::symbol::Frame;

/// Who ended a wait.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Waker {
    /// An interrupt, whomever it interrupted.
    Interrupt,
    /// A thread.
    Thread {
        /// Its name.
        comm: Arc<str>,
        /// The id of its container.
        container: Option<Arc<str>>,
    },
}

/// What functions begin with by which interrupts enter the kernel, on x86-64 and arm64.
const ENTRIES: [&str; 12] = [
    "asm_sysvec_",
    "asm_common_interrupt",
    "asm_spurious_interrupt",
    "sysvec_",
    "common_interrupt",
    "fred_extint",
    "fred_sysvec_",
    "el0t_64_irq",
    "el0t_32_irq",
    "el1h_64_irq",
    "el0_interrupt",
    "el1_interrupt",
];

/// Those that a thread runs itself on its way back from an interrupt: work that was put off, signals, its own preemption.
const EXITS: [&str; 8] = [
    "irqentry_exit",
    "raw_irqentry_exit",
    "exit_to_user_mode",
    "preempt_schedule_irq",
    "do_notify_resume",
    "arm64_preempt_schedule_irq",
    "arm64_exit_to_user_mode",
    "dynamic_irqentry_exit",
];

impl Sample {
    /// Of a sample of a waker, takes what an interrupt has interrupted out of its stack.
    pub fn settle_waker(&mut self) {
        if self.waker.is_none() {
            return;
        }
        let Some(first) = interrupt_in(&self.frames) else { return };
        self.waker = Some(Waker::Interrupt);
        self.frames = self.frames[first..].into();
        self.places = self.places.get(first..).unwrap_or_default().into();
    }
}

/// Where the outermost frame of the innermost interrupt is, in a stack whose root is first.
fn interrupt_in(frames: &[Frame]) -> Option<usize> {
    let begins_as = |index: usize, names: &[&str]| match &frames[index] {
        Frame::Kernel { name } => names.iter().any(|begin| name.starts_with(begin)),
        _ => false,
    };
    let is_told = |index: &usize| begins_as(*index, &ENTRIES) || begins_as(*index, &EXITS);
    let innermost = (0..frames.len()).rev().find(is_told)?;
    if begins_as(innermost, &EXITS) {
        return None;
    }
    (0..=innermost).rev().take_while(|index| begins_as(*index, &ENTRIES)).last()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(user: &[&str], kernel: &[&str]) -> Vec<Frame> {
        let user = user.iter().map(|name| Frame::User { name: (*name).into(), module: None });
        let kernel = kernel.iter().map(|name| Frame::Kernel { name: (*name).into() });
        user.chain(kernel).collect()
    }

    #[test]
    fn an_interrupt_is_told_from_what_it_interrupts() {
        let kernel = [
            "entry_SYSCALL_64_after_hwframe",
            "vfs_read",
            "asm_sysvec_apic_timer_interrupt",
            "sysvec_apic_timer_interrupt",
            "hrtimer_wakeup",
            "try_to_wake_up",
        ];
        assert_eq!(interrupt_in(&stack(&["main", "read"], &kernel)), Some(4));
        // From user code, and of a softirq at its end.
        let softirq =
            ["asm_common_interrupt", "common_interrupt", "irq_exit_rcu", "handle_softirqs", "wake"];
        assert_eq!(interrupt_in(&stack(&["main"], &softirq)), Some(1));
    }

    #[test]
    fn what_a_thread_does_itself_is_no_interrupt() {
        let local = ["tcp_sendmsg", "__local_bh_enable_ip", "do_softirq", "net_rx_action", "wake"];
        assert_eq!(interrupt_in(&stack(&["main", "send"], &local)), None);
        let put_off = [
            "asm_sysvec_apic_timer_interrupt",
            "irqentry_exit_to_user_mode",
            "exit_to_user_mode_loop",
            "task_work_run",
            "wake",
        ];
        assert_eq!(interrupt_in(&stack(&["main"], &put_off)), None);
        // A function of a program that is called like one of the kernel.
        assert_eq!(interrupt_in(&stack(&["common_interrupt", "main"], &["wake"])), None);
        assert_eq!(interrupt_in(&[]), None);
    }
}
