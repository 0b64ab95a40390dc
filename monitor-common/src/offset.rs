//! The members of kernel structures that the kernel half reads: one list, from which come the record of offsets that it is
//! loaded with and the names that user space resolves in BTF.

/// An offset that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// How one offset is found.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// The field of [`KernelOffsets`].
    pub field: &'static str,
    /// The structure.
    pub structure: &'static str,
    /// Names the member has had, newest first; `a.b` goes into a member structure.
    pub members: &'static [&'static str],
    /// Whether the value is a bit offset (for bit fields) and not a byte offset.
    pub is_bit: bool,
    /// Whether cgscope cannot work without it.
    pub is_required: bool,
}

macro_rules! offsets {
    ($($(#[$doc:meta])* $field:ident: $structure:literal [$($member:literal),+] $unit:ident $need:ident;)+) => {
        /// Offsets of the running kernel, in bytes (bits for bit fields); [`ABSENT`] where it has no such member.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct KernelOffsets { $($(#[$doc])* pub $field: u32,)+ }

        impl KernelOffsets {
            /// Nothing resolved.
            pub const ABSENT: Self = Self { $($field: ABSENT,)+ };

            /// What to resolve, in the order of the fields.
            pub const WANTED: &'static [Wanted] = &[$(Wanted {
                field: stringify!($field),
                structure: $structure,
                members: &[$($member),+],
                is_bit: offsets!(@bit $unit),
                is_required: offsets!(@required $need),
            },)+];

            /// From values in the order of [`Self::WANTED`].
            pub fn from_values(mut value_of: impl FnMut(&Wanted) -> u32) -> Self {
                let mut next = Self::WANTED.iter();
                Self { $($field: next.next().map_or(ABSENT, &mut value_of),)+ }
            }
        }
    };
    (@bit bit) => { true };
    (@bit byte) => { false };
    (@required required) => { true };
    (@required optional) => { false };
}

offsets! {
    /// Thread id in the initial namespace.
    task_pid: "task_struct" ["pid"] byte required;
    /// Process id in the initial namespace.
    task_tgid: "task_struct" ["tgid"] byte required;
    /// `PF_*` flags.
    task_flags: "task_struct" ["flags"] byte required;
    /// Scheduler state; 4 bytes since 5.14, 8 before, the low 4 are read.
    task_state: "task_struct" ["__state", "state"] byte required;
    /// Its set of cgroups.
    task_cgroups: "task_struct" ["cgroups"] byte required;
    /// Voluntary switches.
    task_nvcsw: "task_struct" ["nvcsw"] byte required;
    /// Kernel-mode time as accounted, ns.
    task_stime: "task_struct" ["stime"] byte required;
    /// When it was last put on a runqueue, on the scheduler's clock; 0 when it is on none or runs.
    task_last_queued: "task_struct" ["sched_info.last_queued"] byte optional;
    /// When it was last put on a CPU, on the scheduler's clock.
    task_last_arrival: "task_struct" ["sched_info.last_arrival"] byte optional;
    /// Blocked in I/O.
    task_in_iowait: "task_struct" ["in_iowait"] bit required;
    /// Whether it is on a CPU.
    task_on_cpu: "task_struct" ["on_cpu"] byte optional;
    /// Thread name.
    task_comm: "task_struct" ["comm"] byte required;
    /// Table of descriptors.
    task_files: "task_struct" ["files"] byte optional;
    /// Kept from the runqueue by its quota (6.18 on).
    task_throttled: "task_struct" ["throttled"] byte optional;
    /// Its CFS runqueue.
    task_cfs_rq: "task_struct" ["se.cfs_rq"] byte optional;
    /// The CPU's runqueue.
    cfs_rq_rq: "cfs_rq" ["rq"] byte optional;
    /// Its clock, brought up to date by the scheduler before each event we hook.
    rq_clock: "rq" ["clock"] byte optional;
    /// Its clock of work: without what interrupts and the hypervisor took.
    rq_clock_task: "rq" ["clock_task"] byte optional;
    /// When a thread's time on a CPU was last accounted, on the clock of work: once it has left, when it left.
    task_exec_start: "task_struct" ["se.exec_start"] byte optional;
    /// How many levels of the runqueue's hierarchy are throttled (before 6.18 that stops its tasks).
    cfs_rq_throttle_count: "cfs_rq" ["throttle_count"] byte optional;
    /// What the threads of a process share.
    task_signal: "task_struct" ["signal"] byte required;
    /// How many they are.
    signal_live: "signal_struct" ["live"] byte required;
    /// The v1 controllers' states.
    css_set_subsys: "css_set" ["subsys"] byte required;
    /// The cgroup of the v2 hierarchy.
    css_set_dfl_cgrp: "css_set" ["dfl_cgrp"] byte required;
    /// The cgroup of a controller's state.
    css_cgroup: "cgroup_subsys_state" ["cgroup"] byte required;
    /// The directory of a cgroup.
    cgroup_kn: "cgroup" ["kn"] byte required;
    /// The hierarchy of a cgroup.
    cgroup_root: "cgroup" ["root"] byte required;
    /// The id of a hierarchy.
    root_hierarchy_id: "cgroup_root" ["hierarchy_id"] byte required;
    /// The id of a directory: its inode.
    kernfs_id: "kernfs_node" ["id"] byte required;
    /// System call number at entry, negative outside one.
    regs_syscall: "pt_regs" ["orig_ax", "syscallno"] byte optional;
    /// The code segment, which tells 32-bit code.
    regs_cs: "pt_regs" ["cs"] byte optional;
    /// First argument at entry.
    regs_argument0: "pt_regs" ["di", "orig_x0"] byte optional;
    /// User instruction pointer.
    regs_ip: "pt_regs" ["ip", "pc"] byte optional;
    /// User stack pointer.
    regs_sp: "pt_regs" ["sp"] byte optional;
    /// User frame pointer; arm64 has it among its numbered registers.
    regs_bp: "pt_regs" ["bp", "sp"] byte optional;
    /// The address space of a process.
    task_mm: "task_struct" ["mm"] byte required;
    /// The register that tells the threads of a process apart.
    task_thread_pointer: "task_struct" ["thread.fsbase", "thread.uw.tp_value"] byte optional;
    /// Where the stack of its program began.
    mm_start_stack: "mm_struct" ["start_stack"] byte optional;
    /// The descriptor table.
    files_fdt: "files_struct" ["fdt"] byte optional;
    /// Its array of open files.
    fdtable_fd: "fdtable" ["fd"] byte optional;
    /// The size of that array.
    fdtable_max_fds: "fdtable" ["max_fds"] byte optional;
    /// The inode of an open file.
    file_inode: "file" ["f_inode"] byte optional;
    /// The mount that an open file was reached by.
    file_mount: "file" ["f_path.mnt"] byte optional;
    /// The name of an open file.
    file_name: "file" ["f_path.dentry"] byte optional;
    /// The text of a name.
    name_text: "dentry" ["d_name.name"] byte optional;
    /// The directory that a name is in; of the top of a file system itself.
    name_parent: "dentry" ["d_parent"] byte optional;
    /// The place of a name in the table of names: none once it is removed.
    name_place: "dentry" ["d_hash.pprev"] byte optional;
    /// The top of what is mounted.
    mount_root: "vfsmount" ["mnt_root"] byte optional;
    /// What others see of a mount.
    mount_shown: "mount" ["mnt"] byte optional;
    /// The mount it is on: of the outermost itself.
    mount_parent: "mount" ["mnt_parent"] byte optional;
    /// The directory it is on.
    mount_point: "mount" ["mnt_mountpoint"] byte optional;
    /// The kind of an inode.
    inode_mode: "inode" ["i_mode"] byte optional;
    /// What a block request does, in its low 8 bits.
    request_cmd_flags: "request" ["cmd_flags"] byte optional;
    /// Bytes it has left to do.
    request_data_len: "request" ["__data_len"] byte optional;
    /// Its first bio.
    request_bio: "request" ["bio"] byte optional;
    /// Its first sector that is not done yet, of 512 bytes.
    request_sector: "request" ["__sector"] byte optional;
    /// Its queue.
    request_queue: "request" ["q"] byte optional;
    /// Its disk; where this is the queue (5.17 on), the queue has it.
    request_disk: "request" ["rq_disk", "q"] byte optional;
    /// When it was allocated, 0 where the queue keeps no statistics.
    request_start_time_ns: "request" ["start_time_ns"] byte optional;
    /// When it was last issued, 0 where nobody wants to know.
    request_io_start_time_ns: "request" ["io_start_time_ns"] byte optional;
    /// The disk of a queue. Where requests have it themselves this is not read: the second name only keeps it from being missed.
    queue_disk: "request_queue" ["disk", "queuedata"] byte optional;
    /// What a queue does, a bit each.
    queue_flags: "request_queue" ["queue_flags"] byte optional;
    /// Major number of a disk.
    disk_major: "gendisk" ["major"] byte optional;
    /// Minor number of a whole disk.
    disk_first_minor: "gendisk" ["first_minor"] byte optional;
    /// A cgroup on a device, that of who submitted the bio.
    bio_blkg: "bio" ["bi_blkg"] byte optional;
    /// The pages of a bio, none for a mere flush.
    bio_io_vec: "bio" ["bi_io_vec"] byte optional;
    /// What a bio does, in its low 8 bits.
    bio_operation: "bio" ["bi_opf"] byte optional;
    /// Bytes it has left to do.
    bio_size: "bio" ["bi_iter.bi_size"] byte optional;
    /// Its device (5.12 on).
    bio_device: "bio" ["bi_bdev"] byte optional;
    /// The queue of a device.
    device_queue: "block_device" ["bd_queue"] byte optional;
    /// How a queue of requests is worked on; none where a driver takes bios as they are, to make others of them.
    queue_requests: "request_queue" ["mq_ops"] byte optional;
    /// The block state of its cgroup.
    blkg_blkcg: "blkcg_gq" ["blkcg"] byte optional;
    /// The controller's state in it.
    blkcg_css: "blkcg" ["css"] byte optional;
    /// What a controller's state is in, a bit each.
    cgroup_flags: "cgroup" ["self.flags"] byte optional;
    /// The address family of a socket.
    socket_family: "sock" ["__sk_common.skc_family"] byte optional;
    /// Its state.
    socket_state: "sock" ["__sk_common.skc_state"] byte optional;
    /// Its protocol.
    socket_protocol: "sock" ["sk_protocol"] byte optional;
    /// The port it is connected to, in network order; 0 for none.
    socket_remote_port: "sock" ["__sk_common.skc_dport"] byte optional;
    /// Its own port, in the order of this machine.
    socket_local_port: "sock" ["__sk_common.skc_num"] byte optional;
    /// Its last error.
    socket_error: "sock" ["sk_err"] byte optional;
    /// The cgroup that it is charged to, always of v2; before 5.15 a tagged word.
    socket_cgroup: "sock" ["sk_cgrp_data.cgroup", "sk_cgrp_data.val"] byte optional;
    /// Eight times the smoothed round-trip time of a TCP socket, us.
    tcp_srtt_us: "tcp_sock" ["srtt_us"] byte optional;
    /// The socket behind a descriptor.
    socket_sk: "socket" ["sk"] byte optional;
    /// What TCP keeps in a packet.
    skb_cb: "sk_buff" ["cb"] byte optional;
    /// The segments of a packet, in what TCP keeps there.
    tcp_skb_segments: "tcp_skb_cb" ["tcp_gso_segs"] byte optional;
    /// The socket that a packet belongs to.
    skb_socket: "sk_buff" ["sk"] byte optional;
    /// The inode whose pages are cached.
    mapping_host: "address_space" ["host"] byte optional;
    /// The size of a file.
    inode_size: "inode" ["i_size"] byte optional;
    /// The number of an inode.
    inode_number: "inode" ["i_ino"] byte optional;
    /// The file system of an inode.
    inode_super_block: "inode" ["i_sb"] byte optional;
    /// Of which kind that is.
    super_block_magic: "super_block" ["s_magic"] byte optional;
    /// Its number.
    super_block_device: "super_block" ["s_dev"] byte optional;
    /// The inode in what an overlay keeps of a file.
    overlay_inode: "ovl_inode" ["vfs_inode"] byte optional;
    /// Its copy in the upper directory.
    overlay_upper: "ovl_inode" ["__upperdentry"] byte optional;
    /// Where it is in the lower ones (6.5 on).
    overlay_entry: "ovl_inode" ["oe"] byte optional;
    /// The first of them.
    overlay_lower: "ovl_entry" ["__lowerstack"] byte optional;
    /// The number of a layer.
    overlay_layer: "ovl_layer" ["idx"] byte optional;
    /// What a folio is, a bit each.
    folio_flags: "folio" ["flags"] byte optional;
    /// The order of a large one, in its low 8 bits (6.6 on).
    folio_flags_1: "folio" ["_flags_1"] byte optional;
    /// The protocol of a packet, in network order.
    skb_protocol: "sk_buff" ["protocol"] byte optional;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_land_in_their_own_field() {
        let mut next = 0;
        let offsets = KernelOffsets::from_values(|wanted| {
            next += 1;
            if wanted.field == "kernfs_id" { 7 } else { 1_000 + next }
        });
        assert_eq!(offsets.kernfs_id, 7);
        assert_eq!(offsets.task_pid, 1_001);
        assert_eq!(size_of::<KernelOffsets>(), 4 * KernelOffsets::WANTED.len());
    }
}
