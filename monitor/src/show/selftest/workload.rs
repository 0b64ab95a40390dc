//! What `cgscope selftest` runs to look at: workloads of which the answer is known, in a process of their own.
//!
//! Contract: a workload says `ready`, begins when it is told so by a line, and prints what it did as one line of JSON: amounts by function as
//! clocks, calls and the kernel's account of this process say, never as it was asked. It stays until its input ends. Each
//! function that is looked for does its work itself or calls who does, and is never inlined or merged with another.

use std::{
    fs,
    hint::black_box,
    io::{self, BufRead, Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

const PAGE: usize = 4096;
const TURNS: usize = 300;
/// Between turns, so that none of what happens has to be drawn.
const PAUSE: Duration = Duration::from_millis(3);

/// Which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// Burns CPU time.
    Cpu,
    /// Sleeps.
    Sleep,
    /// Two threads and one lock.
    Futex,
    /// Reads from a disk.
    Disk,
    /// Faults.
    Fault,
    /// Takes memory and keeps it.
    Memory,
    /// Sends to itself.
    Network,
}

/// What a workload did.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Truth {
    /// Each function and its part.
    pub parts: Vec<(String, u64)>,
    /// All of it by another account than that of the parts, where there is one.
    pub total: Option<u64>,
    /// When it began and ended, ns since the epoch.
    pub began_ns: u64,
    pub ended_ns: u64,
    /// Why it could not be done here.
    pub impossible: Option<String>,
}

/// Does it; `directory` is where a file may be made.
pub fn run(workload: Workload, directory: PathBuf) -> io::Result<()> {
    let mut input = io::stdin().lock();
    let mut prepared = prepare(workload, directory);
    say("ready")?;
    input.read_line(&mut String::new())?;
    let began_ns = epoch_ns();
    let mut truth = match &mut prepared {
        Ok(work) => work(),
        Err(why) => Truth { impossible: Some(why.clone()), ..Truth::default() },
    };
    (truth.began_ns, truth.ended_ns) = (began_ns, epoch_ns());
    say(&serde_json::to_string(&truth).map_err(io::Error::other)?)?;
    input.read_to_end(&mut Vec::new()).map(drop)
}

fn say(line: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{line}")?;
    output.flush()
}

type Work = Box<dyn FnMut() -> Truth>;

/// What is made before the work begins.
fn prepare(workload: Workload, directory: PathBuf) -> Result<Work, String> {
    let text = |error: io::Error| error.to_string();
    Ok(match workload {
        Workload::Cpu => Box::new(cpu),
        Workload::Sleep => Box::new(sleep),
        Workload::Futex => Box::new(futex),
        Workload::Fault => touching(false).map_err(text)?,
        Workload::Memory => touching(true).map_err(text)?,
        Workload::Network => network().map_err(text)?,
        Workload::Disk => disk(directory)?,
    })
}

fn parts(amounts: &[(&str, u64)]) -> Truth {
    let parts = amounts.iter().map(|(name, amount)| ((*name).to_owned(), *amount)).collect();
    Truth { parts, ..Truth::default() }
}

fn epoch_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}

/// CPU time of this thread, ns.
fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes a timespec there.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What this thread did other than wait, by the kernel's account, ns: it ran, or it was to run.
fn at_work_ns() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let mut fields = text.split_whitespace().flat_map(str::parse::<u64>);
    fields.next().unwrap_or(0) + fields.next().unwrap_or(0)
}

/// How long something waits, ns: how long it takes less what it works.
fn waited_ns(mut wait: impl FnMut()) -> u64 {
    let (worked_ns, start) = (at_work_ns(), Instant::now());
    wait();
    let elapsed_ns = start.elapsed().as_nanos() as u64;
    elapsed_ns.saturating_sub(at_work_ns() - worked_ns)
}

/// Functions that are told apart by name must be apart: the number keeps those that do the same from being one.
macro_rules! named {
    ($($name:ident = $number:literal),+) => {
        $(#[inline(never)]
        fn $name<T>(work: impl FnOnce() -> T) -> T {
            black_box($number);
            let done = work();
            // Not the last thing: it stays on the stack.
            black_box($number);
            done
        })+
    };
}

/// Part of the function that burns: perf finds no callers in code without frame pointers.
#[inline(always)]
fn burn(cpu_ns: u64) {
    let end_ns = thread_cpu_ns() + cpu_ns;
    while thread_cpu_ns() < end_ns {
        for turn in 0..20_000u32 {
            black_box(turn);
        }
    }
}

named!(burn_sixty = 60, burn_thirty = 30, burn_ten = 10);

fn cpu() -> Truth {
    const ALL_NS: u64 = 1_500_000_000;
    const SLICE_NS: u64 = 3_000_000;
    let (mut spent, shares) = ([0u64; 3], [60, 30, 10]);
    let begun_ns = thread_cpu_ns();
    while spent.iter().sum::<u64>() < ALL_NS {
        // The one furthest behind its share.
        let all: u64 = spent.iter().sum();
        let behind = |i: &usize| all as i64 * shares[*i] / 100 - spent[*i] as i64;
        let next = (0..3).max_by_key(behind).unwrap_or(0);
        let before_ns = thread_cpu_ns();
        match next {
            0 => burn_sixty(|| burn(SLICE_NS)),
            1 => burn_thirty(|| burn(SLICE_NS)),
            _ => burn_ten(|| burn(SLICE_NS)),
        }
        spent[next] += thread_cpu_ns() - before_ns;
    }
    let amounts = [("burn_sixty", spent[0]), ("burn_thirty", spent[1]), ("burn_ten", spent[2])];
    Truth { total: Some(thread_cpu_ns() - begun_ns), ..parts(&amounts) }
}

named!(sleep_three = 3, sleep_one = 1);

fn sleep() -> Truth {
    let (mut three, mut one) = (0, 0);
    for _ in 0..80 {
        three += waited_ns(|| sleep_three(|| thread::sleep(Duration::from_millis(15))));
        one += waited_ns(|| sleep_one(|| thread::sleep(Duration::from_millis(5))));
    }
    parts(&[("sleep_three", three), ("sleep_one", one)])
}

named!(wait_for_lock = 7);

/// Another thread takes the lock and holds it for 10 ms, again and again; this one wants it meanwhile.
fn futex() -> Truth {
    let lock = Arc::new(Mutex::new(0u32));
    let (ask, asked) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel::<()>();
    let others = Arc::clone(&lock);
    let holder = thread::spawn(move || {
        while asked.recv().is_ok() {
            let guard = others.lock().unwrap_or_else(PoisonError::into_inner);
            if tell.send(()).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
            drop(guard);
        }
    });
    let mut waited = 0;
    for _ in 0..120 {
        if ask.send(()).is_err() || told.recv().is_err() {
            break;
        }
        waited += waited_ns(|| {
            *wait_for_lock(|| lock.lock().unwrap_or_else(PoisonError::into_inner)) += 1;
        });
    }
    drop(ask);
    let _ = holder.join();
    parts(&[("wait_for_lock", waited)])
}

named!(touch_three = 3, touch_one = 1, read_three = 3, read_one = 1, send_three = 3, send_one = 1);

fn faults() -> u64 {
    // SAFETY: all zeroes are a valid value, and the kernel writes one there.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    (usage.ru_minflt + usage.ru_majflt) as u64
}

/// Resident anonymous bytes of this process, counted page by page: the counters behind `/proc/PID/status` lag by up to 32 pages a CPU,
/// and pages of files come 16 at a time with the first run of any code.
fn resident_bytes() -> u64 {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Touches fresh pages, three and one at a time: faults, or bytes that the process grows by.
fn touching(is_growth: bool) -> io::Result<Work> {
    let bytes = TURNS * 4 * PAGE;
    // SAFETY: a fresh mapping of our own, in small pages.
    let memory = unsafe {
        let (access, kind) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let memory = libc::mmap(std::ptr::null_mut(), bytes, access, kind, -1, 0);
        if memory == libc::MAP_FAILED || libc::madvise(memory, bytes, libc::MADV_NOHUGEPAGE) != 0 {
            return Err(io::Error::last_os_error());
        }
        memory as usize
    };
    Ok(Box::new(move || {
        let mut at = memory;
        let mut touch = |pages: usize| {
            let before = faults();
            for _ in 0..pages {
                // SAFETY: of as many turns as there are pages for, within the mapping.
                unsafe { (at as *mut u8).write_volatile(1) };
                at += PAGE;
            }
            if is_growth { (pages * PAGE) as u64 } else { faults() - before }
        };
        let (faults_before, resident_before) = (faults(), resident_bytes());
        let (mut three, mut one) = (0, 0);
        for _ in 0..TURNS {
            three += touch_three(|| touch(3));
            one += touch_one(|| touch(1));
            thread::sleep(PAUSE);
        }
        let total =
            if is_growth { resident_bytes() - resident_before } else { faults() - faults_before };
        Truth { total: Some(total), ..parts(&[("touch_three", three), ("touch_one", one)]) }
    }))
}

/// Bytes that this process had disks read.
fn fetched_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let bytes = text.lines().find_map(|line| line.strip_prefix("read_bytes: "));
    bytes.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or(0)
}

/// Reads a file past the page cache.
fn disk(directory: PathBuf) -> Result<Work, String> {
    const FILE_BYTES: usize = 8 << 20;
    let file = tempfile(&directory, FILE_BYTES).map_err(|error| {
        format!("no file for direct reads can be made in {}: {error}", directory.display())
    })?;
    let layout = std::alloc::Layout::from_size_align(4 * PAGE, PAGE).map_err(|e| e.to_string())?;
    // SAFETY: the layout has a size; the memory is never given back.
    let buffer = unsafe { std::alloc::alloc_zeroed(layout) } as usize;
    let read = move |at: &mut usize, pages: usize| -> u64 {
        let bytes = pages * PAGE;
        // SAFETY: the buffer has room for four pages.
        let got = unsafe { libc::pread(file.as_raw_fd(), buffer as *mut _, bytes, *at as i64) };
        *at = (*at + bytes) % (FILE_BYTES - 4 * PAGE);
        u64::try_from(got).unwrap_or(0)
    };
    let mut at = 0;
    let before = fetched_bytes();
    if read(&mut at, 1) != PAGE as u64 || fetched_bytes() == before {
        return Err(format!("{} is on no disk: name another --directory", directory.display()));
    }
    Ok(Box::new(move || {
        let before = fetched_bytes();
        let (mut three, mut one) = (0, 0);
        for _ in 0..TURNS {
            three += read_three(|| read(&mut at, 3));
            one += read_one(|| read(&mut at, 1));
            thread::sleep(PAUSE);
        }
        let total = Some(fetched_bytes() - before);
        Truth { total, ..parts(&[("read_three", three), ("read_one", one)]) }
    }))
}

/// A file that is gone with this process, written to its disk, and opened for direct reads.
fn tempfile(directory: &std::path::Path, bytes: usize) -> io::Result<fs::File> {
    let path = directory.join(format!(".cgscope-selftest-{}", std::process::id()));
    let made = || {
        let mut writer = fs::File::create_new(&path)?;
        writer.write_all(&vec![0x5a; bytes])?;
        writer.sync_all()?;
        fs::OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(&path)
    };
    let file = made();
    // It may not have come so far that there is one.
    let _ = fs::remove_file(&path);
    file
}

/// TCP and UDP to itself.
fn network() -> io::Result<Work> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut sender = TcpStream::connect(listener.local_addr()?)?;
    let (mut receiver, _) = listener.accept()?;
    let datagrams = UdpSocket::bind("127.0.0.1:0")?;
    let to_itself = datagrams.local_addr()?;
    Ok(Box::new(move || {
        let mut buffer = vec![0x5a; 3 * PAGE];
        let (mut three, mut one) = (0, 0);
        for _ in 0..TURNS {
            let sent = send_three(|| sender.write(&buffer)).unwrap_or(0);
            three += sent as u64;
            // What was sent is taken, or the next one would wait.
            let _ = receiver.read_exact(&mut buffer[..sent]);
            let sent = send_one(|| datagrams.send_to(&buffer[..PAGE], to_itself)).unwrap_or(0);
            one += sent as u64;
            let _ = datagrams.recv(&mut buffer);
            thread::sleep(PAUSE);
        }
        parts(&[("send_three", three), ("send_one", one)])
    }))
}
