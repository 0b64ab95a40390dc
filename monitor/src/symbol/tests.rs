//! Real programs, resolved while they run, after they died, and when they are hostile.

use std::process::Command;
use std::time::Duration;

use super::fixture::*;
use super::*;
use crate::kernel::ids::Tgid;

fn three() -> Built {
    compile("gcc", THREE_C, &["-O1"])
}

/// Innermost first: in the middle of `inner`, and right behind the ends of its callers, where a
/// return address may be and where the next function begins.
fn stack_of_three(built: &Built, running: &Running) -> Vec<u64> {
    let base = running.base(&built.path);
    let place = |name: &str| symbol(&built.path, &[], name);
    let (inner, _) = place("inner");
    let end = |name: &str| place(name).0 + place(name).1;
    vec![base + inner + 4, base + end("middle"), base + end("outer")]
}

const THREE_NAMES: [&str; 3] = ["user outer", "user middle", "user inner"];

#[test]
fn names_a_running_process() {
    let built = three();
    let running = Running::start(&built.path);
    let symbols = Symbols::start().unwrap();
    let frames = resolve_user(&symbols, running.tgid(), stack_of_three(&built, &running));
    assert_eq!(all_shown(&frames), THREE_NAMES);
    let Frame::User { module: Some(module), .. } = &frames[0] else { panic!("{frames:?}") };
    assert_eq!(&**module, built.path.to_str().unwrap());
}

#[test]
fn names_outlive_the_process_and_its_file() {
    let built = three();
    let mut running = Running::start(&built.path);
    let stack = stack_of_three(&built, &running);
    std::fs::remove_file(&built.path).unwrap();
    let symbols = Symbols::start().unwrap();
    symbols.observe(running.tgid());
    wait_known(&symbols, 1);
    running.kill();
    symbols.forget(running.tgid());
    let frames = resolve_user(&symbols, running.tgid(), stack);
    assert_eq!(all_shown(&frames), THREE_NAMES);
    // The second time from the cache.
    let before = symbols.stats();
    resolve_user(&symbols, running.tgid(), vec![1]);
    assert_eq!(symbols.stats().cache_misses, before.cache_misses);
}

/// A child that nobody looked at has the names of its parent, as long as it runs the parent's program.
#[test]
fn a_child_inherits_what_is_known_of_its_parent() {
    let built = three();
    let running = Running::start(&built.path);
    let stack = stack_of_three(&built, &running);
    let symbols = Symbols::start().unwrap();
    symbols.observe(running.tgid());
    wait_known(&symbols, 1);
    // Beyond the largest id there can be.
    let child = Tgid(1 << 23);
    symbols.forked(child, running.tgid());
    symbols.forget(child);
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", running.tgid())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let start_stack: u64 = fields[25].parse().unwrap();
    let of = |program| {
        let (user, end) = (stack.clone(), WalkEnd::Complete);
        let stack = RawStack { program, tgid: child, kernel: vec![], user, end };
        all_shown(&symbols.resolve_blocking(vec![stack]).remove(0))
    };
    assert_eq!(of(Program(start_stack)), THREE_NAMES);
    assert_eq!(of(Program(start_stack + 16)), ["unresolved process gone"; 3]);
}

#[test]
fn a_process_never_seen_is_gone() {
    let built = three();
    let mut running = Running::start(&built.path);
    let stack = stack_of_three(&built, &running);
    running.kill();
    let symbols = Symbols::start().unwrap();
    symbols.observe(running.tgid());
    let frames = resolve_user(&symbols, running.tgid(), stack);
    assert_eq!(all_shown(&frames), ["unresolved process gone"; 3]);
}

#[test]
fn a_stripped_file_has_no_symbols() {
    let built = three();
    let stripped = built.path.with_extension("stripped");
    run(Command::new("strip").arg("-o").args([&stripped, &built.path]));
    let running = Running::start(&stripped);
    let (inner, _) = symbol(&built.path, &[], "inner");
    let address = running.base(&stripped) + inner;
    let symbols = Symbols::start().unwrap();
    let frames = resolve_user(&symbols, running.tgid(), vec![address]);
    let module = Some(stripped.to_str().unwrap().into());
    assert_eq!(frames, [Frame::Unresolved { reason: Reason::NoSymbols, address, module }]);
}

#[test]
fn an_address_in_no_mapping_is_unmapped() {
    let built = three();
    let running = Running::start(&built.path);
    let symbols = Symbols::start().unwrap();
    let frames = resolve_user(&symbols, running.tgid(), vec![0, 1, u64::MAX]);
    assert_eq!(all_shown(&frames), ["unresolved unmapped"; 3]);
}

#[test]
fn demangles_and_expands_inlined_functions() {
    let source = r#"
        #include <cstdio>
        #include <unistd.h>
        namespace shop {
        struct Cart { int n; int total(int price) __attribute__((noinline)); };
        inline __attribute__((always_inline)) int tax(int x) {
            char c; asm volatile("here: .globl here"); return (int)read(0, &c, 1) + x; }
        int Cart::total(int price) { return tax(price * n) + 1; }
        }
        int main() { shop::Cart cart{2}; printf("ready\n"); fflush(stdout); return cart.total(3); }"#;
    let built = compile("g++", source, &["-O1", "-g"]);
    let running = Running::start(&built.path);
    let place = Command::new("nm").arg(&built.path).output().unwrap();
    let text = String::from_utf8(place.stdout).unwrap();
    let line = text.lines().find(|line| line.ends_with(" here")).unwrap();
    let here = u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap();
    let symbols = Symbols::start().unwrap();
    let frames = resolve_user(&symbols, running.tgid(), vec![running.base(&built.path) + here]);
    assert_eq!(all_shown(&frames), ["user shop::Cart::total(int)", "inlined shop::tax(int)"]);
}

#[test]
fn demangles_rust() {
    let address = maps::parse as *const () as u64;
    let symbols = Symbols::start().unwrap();
    let frames = resolve_user(&symbols, Tgid(std::process::id()), vec![address]);
    let names = all_shown(&frames);
    assert!(names[0].contains("symbol::maps::parse"), "{names:?}");
    assert!(!names[0].contains("17h"), "the hash is no part of the name: {names:?}");
}

#[test]
fn names_the_vdso() {
    let pid = std::process::id();
    let start = base(pid, std::path::Path::new("[vdso]"));
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.ends_with("[vdso]")).unwrap();
    let end = line[..line.find(' ').unwrap()].split('-').next_back().unwrap();
    let mut image = vec![0; (u64::from_str_radix(end, 16).unwrap() - start) as usize];
    let memory = std::fs::File::open("/proc/self/mem").unwrap();
    std::os::unix::fs::FileExt::read_exact_at(&memory, &mut image, start).unwrap();
    let copy = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(copy.path(), image).unwrap();
    let (address, _) = symbol(copy.path(), &["-D", "--without-symbol-versions"], "__vdso_time");
    let symbols = Symbols::start().unwrap();
    let frames = resolve_user(&symbols, Tgid(pid), vec![start + address + 1]);
    let name = shown(&frames[0]);
    assert!(name == "user __vdso_time" || name == "user time", "{name}");
}

#[test]
fn names_the_kernel() {
    let kallsyms = std::fs::read_to_string("/proc/kallsyms").unwrap();
    let line = kallsyms.lines().find(|line| line.ends_with(" T schedule")).unwrap();
    let address = u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap();
    let symbols = Symbols::start().unwrap();
    let stack = RawStack {
        program: Program::LATEST,
        tgid: Tgid(0),
        kernel: vec![address + 1],
        user: vec![],
        end: WalkEnd::Complete,
    };
    let frames = symbols.resolve_blocking(vec![stack]).remove(0);
    let expected = if address == 0 { "unresolved kernel hidden" } else { "kernel schedule" };
    assert_eq!(all_shown(&frames), [expected]);
}

/// A fixture that makes executable memory without a file and says where.
const JIT_C: &str = r#"
    #include <stdio.h>
    #include <unistd.h>
    #include <sys/mman.h>
    int main(void) {
        void *code = mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        char c; printf("%lx\n", (unsigned long)code); fflush(stdout); return (int)read(0, &c, 1);
    }"#;

#[test]
fn names_run_time_code_by_its_perf_map() {
    let built = compile("gcc", JIT_C, &[]);
    let running = Running::start(&built.path);
    let code = u64::from_str_radix(&running.said, 16).unwrap();
    let symbols = Symbols::start().unwrap();
    let frames = resolve_user(&symbols, running.tgid(), vec![code]);
    assert_eq!(all_shown(&frames), ["unresolved anonymous memory"]);

    let path = format!("/tmp/perf-{}.map", running.tgid());
    let text = format!("\u{0}garbage\n{code:x} 10 LazyCompile:*f a.js:1\n{:x} 10 g", code + 16);
    std::fs::write(&path, &text).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    let frames = resolve_user(&symbols, running.tgid(), vec![code + 1, code + 20]);
    // The last line has no end yet.
    assert_eq!(all_shown(&frames), ["unresolved anonymous memory", "user LazyCompile:*f a.js:1"]);
    std::fs::write(&path, format!("{text}\n{code:x} 4 again\n")).unwrap();
    let frames = resolve_user(&symbols, running.tgid(), vec![code + 1, code + 9, code + 20]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(all_shown(&frames), ["user g", "user LazyCompile:*f a.js:1", "user again"]);
    let Frame::User { module: Some(module), .. } = &frames[0] else { panic!("{frames:?}") };
    assert_eq!(&**module, "[jit]");
}

#[test]
fn a_file_that_is_no_elf_or_half_of_one_is_unreadable() {
    let whole = std::fs::read(&three().path).unwrap();
    let (inner, _) = symbol(&three().path, &[], "inner");
    let symbols = Symbols::start().unwrap();
    let garbage = Mapped::new(&vec![7; 5000]);
    assert_eq!(garbage.resolve(&symbols, &[inner]), ["unresolved file unreadable"]);
    let symbols = Symbols::start().unwrap();
    // The sections, and with them the symbols, are at the end of the file.
    let half = Mapped::new(&whole[..whole.len() / 2]);
    let names = half.resolve(&symbols, &[inner]);
    assert_eq!(names, ["unresolved file unreadable"]);
}

#[test]
fn a_file_that_shrinks_while_it_is_mapped_costs_only_its_names() {
    let built = compile("gcc", THREE_C, &["-O1", "-g"]);
    let mut content = std::fs::read(&built.path).unwrap();
    let (inner, _) = symbol(&built.path, &[], "inner");
    let (main, _) = symbol(&built.path, &[], "main");
    // A file of many pages, so that the pages that are still to be read can go.
    content.resize(content.len() + 65536, 0);
    let mapped = Mapped::new(&content);
    let symbols = Symbols::start().unwrap();
    assert_eq!(mapped.resolve(&symbols, &[inner]), ["user inner"]);
    mapped.file.set_len(100).unwrap();
    assert_eq!(mapped.resolve(&symbols, &[main]), ["unresolved file unreadable"]);
    assert_eq!(symbols.stats().objects_damaged, 1);
    // The next file is none the worse for it.
    let other = Mapped::new(&std::fs::read(&built.path).unwrap());
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(other.resolve(&symbols, &[main]), ["user main"]);
}

#[test]
fn damaged_files_never_end_the_threads() {
    let built = compile("g++", THREE_C, &["-O1", "-g"]);
    let sound = std::fs::read(&built.path).unwrap();
    let (inner, _) = symbol(&built.path, &[], "_Z5inneri");
    let mut seed = 1_u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % below
    };
    let (mut named, mut damaged) = (0, 0);
    for round in 0..400 {
        let mut content = sound.clone();
        // Damage the headers, the section table at the end, or anything.
        let length = content.len();
        for _ in 0..20 {
            let at = match round % 4 {
                0 => random(1024),
                1 => length - 1 - random(2048),
                _ => random(length),
            };
            content[at] = random(256) as u8;
        }
        let mapped = Mapped::new(&content);
        // A new one each time: no cache answers for the damaged file.
        let symbols = Symbols::start().unwrap();
        let names = mapped.resolve(&symbols, &[inner, inner + 40, inner + 80, 0]);
        assert_eq!(names.len(), 4);
        assert_eq!(symbols.stats().stacks_behind, 0, "a thread is gone");
        named += usize::from(names[0].starts_with("user "));
        damaged += symbols.stats().objects_damaged;
        // A sound file is named by the same threads.
        let other = all_shown(&resolve_user(
            &symbols,
            Tgid(std::process::id()),
            vec![Symbols::start as *const () as u64],
        ));
        assert!(other[0].contains("Symbols"), "{other:?} after {names:?}");
    }
    eprintln!(
        "{named} of 400 damaged files still named their function, {damaged} made blazesym panic"
    );
    assert!(named > 0 && named < 400);
}

#[test]
fn another_root_and_pid_namespace_hide_nothing() {
    // SAFETY: has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("skipped: needs root for chroot and unshare");
        return;
    }
    let source = r#"
        #include <stdio.h>
        #include <unistd.h>
        #include <sys/mman.h>
        __attribute__((noinline)) int inner(int x) { char c; return (int)read(0, &c, 1) + x; }
        int main(void) {
            void *code = mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            char name[64]; snprintf(name, 64, "/tmp/perf-%d.map", getpid());
            FILE *map = fopen(name, "w"); fprintf(map, "%lx 100 jitted\n", (unsigned long)code);
            fclose(map);
            printf("%lx %lx\n", (unsigned long)code, (unsigned long)inner);
            fflush(stdout); return inner(1); }"#;
    let built = compile("gcc", source, &["-O1", "-g", "-static"]);
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("tmp")).unwrap();
    // Stripped, its symbols in a debug file under its own root, found by build id.
    let (inside, debug) = (root.path().join("fixture"), root.path().join("debug"));
    run(Command::new("objcopy").arg("--only-keep-debug").args([&built.path, &debug]));
    run(Command::new("strip").arg("-o").args([&inside, &built.path]));
    let notes = Command::new("readelf").arg("-n").arg(&inside).output().unwrap();
    let notes = String::from_utf8(notes.stdout).unwrap();
    let id = notes.split("Build ID: ").nth(1).unwrap().split_whitespace().next().unwrap();
    let directory = root.path().join("usr/lib/debug/.build-id").join(&id[..2]);
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::rename(debug, directory.join(format!("{}.debug", &id[2..]))).unwrap();

    let mut running = Running::spawn(
        Command::new("unshare")
            .args(["--pid", "--mount", "--fork", "--kill-child", "chroot"])
            .arg(root.path())
            .arg("/fixture"),
    );
    let children = format!("/proc/{0}/task/{0}/children", running.child.id());
    let inner_pid: u32 = std::fs::read_to_string(children).unwrap().trim().parse().unwrap();
    assert!(root.path().join("tmp/perf-1.map").exists());
    let hex = |text: &str| u64::from_str_radix(text, 16).unwrap();
    let (code, inner) = running.said.split_once(' ').map(|(a, b)| (hex(a), hex(b))).unwrap();
    let symbols = Symbols::start().unwrap();
    symbols.observe(Tgid(inner_pid));
    wait_known(&symbols, 1);
    running.kill();
    while std::path::Path::new(&format!("/proc/{inner_pid}")).exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let frames = resolve_user(&symbols, Tgid(inner_pid), vec![inner + 4, code + 1]);
    assert_eq!(all_shown(&frames), ["user jitted", "user inner"]);
    let Frame::User { module: Some(module), .. } = &frames[1] else { panic!("{frames:?}") };
    assert!(module.ends_with("/fixture"), "{module}");
}

#[test]
fn exec_is_another_program() {
    let source = r#"
        #include <stdio.h>
        #include <unistd.h>
        __attribute__((noinline)) int before(int x) { char c; return (int)read(0, &c, 1) + x; }
        int main(int count, char **arguments) { printf("ready\n"); fflush(stdout);
            before(1); execv(arguments[1], arguments + 1); return 1; }"#;
    let first = compile("gcc", source, &["-O1"]);
    let second = three();
    let mut running = Running::spawn(Command::new(&first.path).arg(&second.path));
    let old = running.base(&first.path) + symbol(&first.path, &[], "before").0 + 4;
    let symbols = Symbols::start().unwrap();
    let tgid = running.tgid();
    assert_eq!(all_shown(&resolve_user(&symbols, tgid, vec![old])), ["user before"]);
    std::io::Write::write_all(running.child.stdin.as_mut().unwrap(), b"x").unwrap();
    let exe = format!("/proc/{tgid}/exe");
    while std::fs::read_link(&exe).unwrap() != second.path {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(100));
    symbols.replaced(tgid);
    std::thread::sleep(Duration::from_millis(200));
    let new = running.base(&second.path) + symbol(&second.path, &[], "inner").0;
    // A sample taken before exec may come after it.
    let frames = resolve_user(&symbols, tgid, vec![new, old]);
    assert_eq!(all_shown(&frames), ["user before", "user inner"]);
}

#[test]
fn a_full_queue_marks_and_does_not_wait() {
    let symbols = Symbols::start().unwrap();
    let tgid = Tgid(std::process::id());
    let address = Symbols::start as *const () as u64;
    let stacks = || {
        vec![
            RawStack {
                program: Program::LATEST,
                tgid,
                kernel: vec![],
                user: vec![address],
                end: WalkEnd::Complete
            };
            2000
        ]
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let answers = runtime.block_on(async {
        let calls: Vec<_> = (0..300).map(|_| symbols.resolve(stacks())).collect();
        let mut calls: Vec<_> = calls.into_iter().map(Box::pin).collect();
        let mut answers = Vec::new();
        // All are polled once, and so queued, before the first is awaited.
        std::future::poll_fn(|context| {
            for call in &mut calls {
                if let std::task::Poll::Ready(frames) = call.as_mut().poll(context) {
                    answers.push(frames);
                }
            }
            std::task::Poll::Ready(())
        })
        .await;
        answers
    });
    assert!(!answers.is_empty(), "300 calls found room in a queue of 64");
    assert!(answers.iter().all(|frames| frames.len() == 2000));
    let behind = answers.iter().filter(|frames| shown(&frames[0][0]).contains("behind")).count();
    assert_eq!(symbols.stats().stacks_behind, behind as u64 * 2000);
    assert!(behind > 0);
}

#[test]
fn compressed_debug_information_costs_no_function_its_name() {
    let built = compile("gcc", THREE_C, &["-O1", "-g", "-gz"]);
    let running = Running::start(&built.path);
    let symbols = Symbols::start().unwrap();
    let frames = resolve_user(&symbols, running.tgid(), stack_of_three(&built, &running));
    assert_eq!(all_shown(&frames), THREE_NAMES);
}

/// Descriptors are closed and their numbers used again; no name may come from the wrong file.
#[test]
fn bounds_hold_and_mix_up_nothing() {
    use std::sync::Arc;
    use std::time::Instant;
    let files: Vec<(Mapped, u64)> = (0..12)
        .map(|number| {
            let source = THREE_C.replace("inner", &format!("inner{number}"));
            let built = compile("gcc", &source, &["-O1", "-g"]);
            let (address, _) = symbol(&built.path, &[], &format!("inner{number}"));
            (Mapped::new(&std::fs::read(&built.path).unwrap()), address)
        })
        .collect();
    let objects = object::Objects::new(8);
    let processes = process::Processes::new(&objects);
    let shared =
        Arc::new(resolver::Shared { objects, processes, python: python::PythonNames::new() });
    let mut resolver = resolver::Resolver::new(Arc::clone(&shared), 3);
    let tgid = Tgid(std::process::id());
    for byte in 0..10 {
        for (number, (mapped, address)) in files.iter().enumerate() {
            // Another address each time, so that the cache has no answer.
            let user = vec![mapped.start + address + byte];
            let stack = RawStack {
                program: Program::LATEST,
                tgid,
                kernel: vec![],
                user,
                end: WalkEnd::Complete,
            };
            let deadline = Instant::now() + Duration::from_secs(60);
            let frames = resolver.resolve(&[stack], deadline);
            assert_eq!(all_shown(&frames[0]), [format!("user inner{number}")], "round {byte}");
            assert!(resolver.counters().parsed <= 3);
            let (_, open) = shared.objects.count();
            assert!(open <= 8, "{open} objects are open");
        }
    }
    assert!(resolver.counters().parsed_evicted > 100);
    assert!(shared.objects.closed() > 0);
}

#[test]
fn a_library_loaded_later_is_found() {
    let symbols = Symbols::start().unwrap();
    let tgid = Tgid(std::process::id());
    let address = Symbols::start as *const () as u64;
    assert!(!is_unresolved(&resolve_user(&symbols, tgid, vec![address])[0]));
    let built = three();
    let mapped = Mapped::new(&std::fs::read(&built.path).unwrap());
    let (inner, _) = symbol(&built.path, &[], "inner");
    assert_eq!(mapped.resolve(&symbols, &[inner]), ["unresolved unmapped"]);
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(mapped.resolve(&symbols, &[inner]), ["user inner"]);
}
