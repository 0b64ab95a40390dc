//! What perf prints, and what it never would.

use proptest::prelude::*;

use super::*;

/// As perf 6.1 prints it, with call chains, threads, inlined frames, a deleted file and two events.
pub const PRINTED: &str = "\
# ========
# captured on    : Sat Nov 21 12:00:00 2026
#
nginx  4242/4243  [001]   123.456789:   10101010 cpu-clock:pppH: 
\tffffffff81e001a0 do_syscall_64+0x5b ([kernel.kallsyms])
\t    7f0000001234 std::vector<int, (anonymous namespace)::A>::at(int)+0x1a (/usr/lib/libx (1).so (deleted))
  x.h:12
\t    55d0c0ffee10 ngx_get (inlined)
\t    55d0c0ffee00 ngx_worker+0x1a (/usr/sbin/nginx)
\t    55d0c0ffed00 [unknown] (/usr/sbin/nginx)
  nginx[55d0c0ffed00]

Web Content 12  77 123.5: cpu-clock:pppH: 
\t    7f0000009999 LazyCompile:~f+0x3 (/tmp/perf-77.map)
\t               0 [unknown] ([unknown])

nginx  4242/4243  [001]   123.6:   1 page-faults: 
\t    55d0c0ffee00 ngx_worker+0x1a (/usr/sbin/nginx)

:-1    -1 [000]   124.0:  10101010 cpu-clock:pppH: 
\tffffffff81e001a0 [unknown] ([kernel.kallsyms])
";

fn lines(script: &PerfScript) -> Vec<String> {
    let line = |stack: &Vec<Label>| stack.iter().map(Label::marked).collect::<Vec<_>>().join(";");
    script.stacks.iter().map(line).collect()
}

#[test]
fn stacks_as_perf_prints_them() {
    let script = read(PRINTED).unwrap();
    assert_eq!(
        lines(&script),
        [
            "nginx;[unknown: no symbols in nginx];ngx_worker;ngx_get_[i];\
             std::vector<int, (anonymous namespace)::A>::at(int);do_syscall_64_[k]",
            "Web Content 12;[unknown: unmapped];LazyCompile:~f_[j]",
            ":-1;[unknown: kernel hidden]",
        ]
    );
    assert_eq!((script.event.as_str(), script.skipped), ("cpu-clock:pppH", 1));
    assert_eq!(
        script.stacks[0][4].module.as_deref(),
        Some("/usr/lib/libx (1).so (deleted)"),
        "{:?}",
        script.stacks[0]
    );
}

#[test]
fn one_frame_on_the_line_of_its_event() {
    let text = "            perf  1234 [000]   10.5:  1 cycles:  ffffffff81000010 nmi+0x1 ([kernel.kallsyms])\n\
                            a  5   11.5:  cycles:      55d000000010 main+0x1 (/bin/a)\n";
    let script = read(text).unwrap();
    assert_eq!(lines(&script), ["perf;nmi_[k]", "a;main"]);
}

#[test]
fn fields_that_were_left_out() {
    assert_eq!(lines(&read("a  5 \n\t  10 f\n\n").unwrap()), ["a;f"]);
    assert_eq!(
        lines(&read("a  5 [000] 1.2: sched:sched_switch: prev_comm=a ==> b\n").unwrap()),
        ["a"]
    );
    assert_eq!(read("").unwrap(), PerfScript::default());
}

#[test]
fn errors_name_the_line() {
    let text = "a 5 1.2: cycles:\n\t10 f (b)\n\tnonsense here\n";
    let error = read(text).unwrap_err().to_string();
    assert!(error.contains("line 3") && error.contains("nonsense here"), "{error}");
    let error = read("a 5 1.2: cycles:\n\t10 f (b)\n\nnothing of the kind\n").unwrap_err();
    assert_eq!(error, PerfScriptError::NoEvent { line: 4, text: "nothing of the kind".into() });
}

proptest! {
    #[test]
    fn damaged_text_is_read_or_refused(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<Option<char>>()), 1..20),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut text: Vec<char> = PRINTED.chars().collect();
        for (place, change) in changes {
            let place = place.index(text.len());
            match change {
                Some(character) => text[place] = character,
                None => drop(text.remove(place)),
            }
        }
        text.truncate(cut.index(text.len()) + 1);
        let text: String = text.into_iter().collect();
        let lines = text.lines().count();
        match read(&text) {
            Ok(script) => {
                prop_assert!(script.stacks.len() as u64 + script.skipped <= lines as u64);
                prop_assert!(script.stacks.iter().all(|s| !s.is_empty()));
            }
            Err(PerfScriptError::NoEvent { line, .. } | PerfScriptError::NoFrame { line, .. }) => {
                prop_assert!((1..=lines).contains(&line));
            }
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(\\PC|[\n\t :/()\\[\\]0-9.])*") {
        let _ = read(&text);
    }
}
