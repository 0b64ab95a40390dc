//! The `cgroup` family: directories made and removed, in the hierarchy that gives the identity and in that of block requests;
//! threads moved in the former.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated::bpf_probe_read_kernel_str, macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use aya_log_ebpf::debug;
use monitor_common::event::{CGROUP_PATH_BYTES, CgroupPathEvent, EventKind};

use crate::{
    config::tunable,
    event,
    kernel::{self, Direct, Task},
    sched, thread,
};

/// `cgroup_mkdir(struct cgroup *cgrp, const char *path)`.
#[btf_tracepoint(function = "cgroup_mkdir")]
pub fn cgroup_mkdir(ctx: BtfTracePointContext) -> i32 {
    announce(&ctx, EventKind::CgroupMkdir);
    0
}

/// `cgroup_rmdir(struct cgroup *cgrp, const char *path)`.
#[btf_tracepoint(function = "cgroup_rmdir")]
pub fn cgroup_rmdir(ctx: BtfTracePointContext) -> i32 {
    announce(&ctx, EventKind::CgroupRmdir);
    0
}

/// `cgroup_attach_task(struct cgroup *dst_cgrp, const char *path, struct task_struct *task, bool threadgroup)`: once for a process,
/// with its first thread.
#[btf_tracepoint(function = "cgroup_attach_task")]
pub fn cgroup_attach_task(ctx: BtfTracePointContext) -> i32 {
    let cgroup: *const c_void = ctx.arg(0);
    if kernel::hierarchy_id::<Direct>(cgroup) == tunable!(hierarchy_id) {
        let task = Task::<Direct>::new(ctx.arg(2));
        thread::note_move(task, kernel::cgroup_id::<Direct>(cgroup), sched::clock_ns());
    }
    0
}

#[inline(always)]
fn announce(ctx: &BtfTracePointContext, kind: EventKind) {
    let cgroup: *const c_void = ctx.arg(0);
    let path: *const c_void = ctx.arg(1);
    let hierarchy_id = kernel::hierarchy_id::<Direct>(cgroup);
    if hierarchy_id != tunable!(hierarchy_id) && hierarchy_id != tunable!(block_hierarchy_id) {
        return;
    }
    let cgroup_id = kernel::cgroup_id::<Direct>(cgroup);
    debug!(ctx, "event {} for cgroup {}", kind as u32, cgroup_id);
    let Some(mut entry) = event::reserve::<CgroupPathEvent>() else { return };
    let record = entry.as_mut_ptr();
    // SAFETY: the entry is exclusively ours until it is submitted, and every field is written.
    unsafe {
        (*record).header = event::header(kind);
        (*record).cgroup_id = cgroup_id;
        (*record).hierarchy_id = hierarchy_id;
        let length = bpf_probe_read_kernel_str(
            (&raw mut (*record).path).cast(),
            CGROUP_PATH_BYTES as u32,
            path,
        );
        (*record).path_bytes = if length > 0 { length as u32 - 1 } else { 0 };
    }
    event::submit(entry);
}
