//! Reading the path of an open file: see [`monitor_common::path`].
//!
//! Contract: for what is rare, a name costs three reads by helper. What is mounted on what is followed too, so the path is the one that a
//! process of the file's own mount namespace would write, as in `/proc/PID/fd`.

use core::{arch::asm, ffi::c_void};

use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use monitor_common::{
    offset::ABSENT,
    path::{FilePath, MAX_STEPS, NAME_BYTES, PATH_BYTES, PathEnd, PathHead},
};

use crate::{
    config::offset,
    kernel::{Probe, pointer},
};

/// Reads the path of a file; of a null pointer, that nothing is known. `path` is a map value of this CPU.
#[inline(never)]
pub fn read(file: *const c_void, path: *mut FilePath) {
    let head = PathHead { bytes: 0, end: PathEnd::Cut as u32, is_deleted: 0, padding: 0 };
    // SAFETY: the record of this CPU, here and below.
    unsafe { (*path).head = head };
    if file.is_null()
        || offset!(file_mount) == ABSENT
        || offset!(file_name) == ABSENT
        || offset!(name_text) == ABSENT
        || offset!(name_parent) == ABSENT
        || offset!(mount_root) == ABSENT
    {
        return;
    }
    let mut mount = pointer::<Probe>(file, offset!(file_mount));
    let mut name = pointer::<Probe>(file, offset!(file_name));
    for step in 0..MAX_STEPS {
        if name.is_null() || mount.is_null() {
            return;
        }
        if name == pointer::<Probe>(mount, offset!(mount_root)) {
            let Some((outer, point)) = below(mount) else { return };
            if point.is_null() {
                // SAFETY: as above.
                unsafe { (*path).head.end = PathEnd::Root as u32 };
                return;
            }
            (mount, name) = (outer, point);
            continue;
        }
        if step == 0 && offset!(name_place) != ABSENT {
            let place = pointer::<Probe>(name, offset!(name_place));
            // SAFETY: as above.
            unsafe { (*path).head.is_deleted = u32::from(place.is_null()) };
        }
        if !add(path, pointer::<Probe>(name, offset!(name_text))) {
            return;
        }
        let parent = pointer::<Probe>(name, offset!(name_parent));
        // A name without a directory, as those of memory that has only a descriptor.
        if parent == name {
            return;
        }
        name = parent;
    }
}

/// The mount that another is on, and the directory there; that is null if there is none. `None` where it cannot be told.
#[inline(always)]
fn below(mount: *const c_void) -> Option<(*const c_void, *const c_void)> {
    if offset!(mount_shown) == ABSENT
        || offset!(mount_parent) == ABSENT
        || offset!(mount_point) == ABSENT
    {
        return None;
    }
    let whole = mount.wrapping_byte_sub(offset!(mount_shown) as usize);
    let outer = pointer::<Probe>(whole, offset!(mount_parent));
    if outer.is_null() {
        return None;
    }
    if outer == whole {
        return Some((mount, core::ptr::null()));
    }
    let point = pointer::<Probe>(whole, offset!(mount_point));
    if point.is_null() {
        return None;
    }
    Some((outer.wrapping_byte_add(offset!(mount_shown) as usize), point))
}

/// Adds a name; false if it finds no room or cannot be read.
#[inline(always)]
fn add(path: *mut FilePath, text: *const c_void) -> bool {
    // SAFETY: the record of this CPU; the name is begun where it has room to the end.
    unsafe {
        let bytes = &raw mut (*path).head.bytes;
        let mut at = u64::from(bytes.read_volatile());
        if at >= PATH_BYTES as u64 {
            return false;
        }
        const { assert!(PATH_BYTES == 512) };
        // As it is; the verifier does not follow it through the comparison on all kernels.
        asm!("{0} &= 511", inout(reg) at, options(pure, nomem, nostack));
        let room = (&raw mut (*path).names).cast::<u8>().add(at as usize);
        let read = bpf_probe_read_kernel_str(room.cast(), NAME_BYTES as u32, text);
        // Of an empty one the zero only.
        if read <= 1 || read > NAME_BYTES as _ {
            return false;
        }
        bytes.write_volatile(at as u32 + read as u32);
    }
    true
}
