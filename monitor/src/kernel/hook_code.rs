//! The kernel's code between a tracepoint and a program at it: where it lies, so that a stack taken by the program can begin with
//! the function that the event is about.
//!
//! How many frames there are is not fixed: the kernel calls a program at once where it is the only one at its tracepoint, and through one
//! more function where there are others, of any tool. The code of programs lies elsewhere each time they are loaded, and is no part of
//! the kernel's own. So it is told by address, from where the kernel's own functions lie, which do not move.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    ops::Range,
};

/// What functions begin with that call a program: of typed tracepoints, and of classic ones, which give registers of their own.
const NAMES: [&str; 4] = ["bpf_trace_run", "__bpf_trace_", "__traceiter_", "perf_trace_"];

/// Where that code lies.
#[derive(Debug, Default)]
pub struct HookCode {
    /// The kernel's own code, without modules and programs.
    core: Range<u64>,
    /// Of functions that call programs, in order.
    callers: Vec<Range<u64>>,
}

impl HookCode {
    /// As `/proc/kallsyms` has it: of a kernel that hides its addresses nothing, and no frame is told.
    pub fn of_this_kernel() -> io::Result<Self> {
        Self::read(BufReader::with_capacity(1 << 16, File::open("/proc/kallsyms")?))
    }

    /// Reads as far as the kernel's own code goes, which comes first and in order.
    fn read(mut lines: impl BufRead) -> io::Result<Self> {
        let mut code = Self::default();
        let mut open = None;
        let mut line = String::new();
        while lines.read_line(&mut line)? > 0 {
            let mut fields = line.split_ascii_whitespace();
            let address = fields.next().and_then(|hex| u64::from_str_radix(hex, 16).ok());
            let name = fields.nth(1);
            if let (Some(address @ 1..), Some(name)) = (address, name) {
                if let Some(start) = open.take_if(|start| *start < address) {
                    code.callers.push(start..address);
                }
                match name {
                    "_stext" => code.core.start = address,
                    "_etext" => {
                        code.core.end = address;
                        break;
                    }
                    _ if NAMES.iter().any(|begin| name.starts_with(begin)) => open = Some(address),
                    _ => {}
                }
            }
            line.clear();
        }
        Ok(code)
    }

    /// How many of the innermost addresses of a stack are those of a program and of what calls it; 0 if none calls one.
    pub fn frames_in(&self, kernel: &[u64]) -> usize {
        let of_program = kernel.iter().take_while(|at| !self.core.contains(at)).count();
        let of_callers = kernel[of_program..].iter().take_while(|at| self.is_caller(**at)).count();
        if of_callers == 0 { 0 } else { of_program + of_callers }
    }

    /// Whether an address is one to return to within such a function, of which it may be the end.
    fn is_caller(&self, at: u64) -> bool {
        let index = self.callers.partition_point(|code| code.start < at);
        index.checked_sub(1).is_some_and(|before| at <= self.callers[before].end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KALLSYMS: &str = "0000000000000000 A fixed_percpu_data\n\
        ffffffff81000000 T _stext\nffffffff81000000 T _text\n\
        ffffffff81001000 T __pfx___traceiter_block_bio_queue\n\
        ffffffff81001010 T __traceiter_block_bio_queue\n\
        ffffffff81001060 T __traceiter_next\nffffffff81001060 T alias\n\
        ffffffff81001090 T submit_bio\nffffffff81002000 T bpf_trace_run1\n\
        ffffffff81002080 T bpf_trace_printk\nffffffff81009000 T _etext\n\
        ffffffffc0000000 t perf_trace_of_a_module\t[module]\n";
    const PROGRAM: u64 = 0xffff_ffff_c020_0010;
    const RUN: u64 = 0xffff_ffff_8100_2040;
    const ITERATE: u64 = 0xffff_ffff_8100_1050;
    const SUBMIT: u64 = 0xffff_ffff_8100_1099;

    fn code_of(text: &str) -> HookCode {
        HookCode::read(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_stack_begins_behind_what_calls_programs() {
        let code = code_of(KALLSYMS);
        assert_eq!(code.callers.len(), 3, "{code:x?}");
        assert_eq!(code.frames_in(&[PROGRAM, RUN, ITERATE, SUBMIT]), 3);
        assert_eq!(code.frames_in(&[PROGRAM + 64, PROGRAM, RUN, SUBMIT, ITERATE]), 3);
        assert_eq!(code.frames_in(&[ITERATE, SUBMIT]), 1);
        assert_eq!(code.frames_in(&[PROGRAM, RUN]), 2);
        // One that ends with its call.
        assert_eq!(code.frames_in(&[PROGRAM, 0xffff_ffff_8100_2080, SUBMIT]), 2);
    }

    #[test]
    fn other_stacks_stay_as_they_are() {
        let code = code_of(KALLSYMS);
        for stack in [&[][..], &[SUBMIT, RUN], &[PROGRAM, SUBMIT, RUN], &[PROGRAM, PROGRAM]] {
            assert_eq!(code.frames_in(stack), 0, "{stack:x?}");
        }
        let hidden = KALLSYMS.lines().map(|line| format!("{:016x}{}\n", 0, &line[16..]));
        let hidden = code_of(&hidden.collect::<String>());
        assert_eq!(hidden.frames_in(&[PROGRAM, RUN]), 0);
    }

    #[test]
    fn this_kernel_tells() {
        let code = HookCode::of_this_kernel().unwrap();
        // Without the right to see addresses there are none.
        assert!(code.core.is_empty() || !code.callers.is_empty(), "{code:x?}");
    }
}
