//! Runs scripts in the format of Prometheus' promqltest: series to load, queries, and what they must come to.
//!
//! Contract: a case is one `eval`. An instant query is also asked as the middle step of a range, as Prometheus' runner does.
//! Positions in remarks (`(1:7)`) are not compared: the parser does not give them. A case that selects or expects a native
//! histogram does not apply, and says so.

mod command;
mod compare;
mod notation;
mod run;

pub use command::ScriptError;
pub use run::{Case, Verdict, run};

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn our_own_cases() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/promql/cases");
        let mut count = 0;
        for file in fs::read_dir(directory).unwrap() {
            let path = file.unwrap().path();
            for case in run(&fs::read_to_string(&path).unwrap()).unwrap() {
                let place = format!("{}:{}: {}", path.display(), case.line, case.query);
                assert_eq!(case.verdict, Verdict::Passed, "{place}");
                count += 1;
            }
        }
        assert!(count > 50, "{count}");
    }

    #[test]
    fn what_a_script_does_not_say_fails() {
        let verdicts = |cases: &str| -> Vec<Verdict> {
            let script = format!("load 1m\n  a{{b=\"c\"}} 1 2 3\n  h {{{{sum:1}}}}x3\n\n{cases}");
            run(&script).unwrap().into_iter().map(|case| case.verdict).collect()
        };
        for wrong in [
            "eval instant at 1m a\n  a{b=\"c\"} 1",
            "eval instant at 1m a\n  a{b=\"d\"} 2",
            "eval instant at 1m a",
            "eval instant at 1m nothing\n  {} 1",
            "eval instant at 1m a\n  expect fail",
            "eval instant at 1m a\n  expect warn\n  a{b=\"c\"} 2",
            "eval instant at 1m 1\n  2",
            "eval instant at 1m \"x\"\n  expect string \"y\"",
            "eval range from 0 to 2m step 1m a\n  a{b=\"c\"} 1 2",
            "eval_fail instant at 1m a",
        ] {
            assert!(matches!(verdicts(wrong)[..], [Verdict::Failed(_)]), "{wrong}");
        }
        let native = Verdict::NotApplicable("native histograms");
        assert_eq!(verdicts("eval instant at 1m h\n  h {{sum:1}}"), [native]);
        assert!(run("load 1m\n  a x").is_err() && run("evil instant at 1m a").is_err());
    }
}
