//! The columns of `cgscope top`: what each shows, and by what the rows can be ordered.

use std::{fmt, str::FromStr};

use super::{
    number::{self, UNKNOWN},
    table::Side,
    text::{clean, fit},
};
use crate::serve::api::ContainerRow;

/// Longest name in a table.
const NAME_COLUMNS: usize = 40;
/// Cells of the bar of states.
pub const BAR_CELLS: usize = 30;

/// One column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    Name,
    Id,
    Runtime,
    Cpu,
    Throttled,
    RunqueueP50,
    RunqueueP99,
    Threads,
    Stall,
    States,
    /// Any metric by its name.
    Metric(String),
}

/// Columns in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns(pub Vec<Column>);

const NAMED: [(&str, Column); 10] = [
    ("name", Column::Name),
    ("id", Column::Id),
    ("runtime", Column::Runtime),
    ("cpu", Column::Cpu),
    ("throttled", Column::Throttled),
    ("runq-p50", Column::RunqueueP50),
    ("runq-p99", Column::RunqueueP99),
    ("threads", Column::Threads),
    ("stall", Column::Stall),
    ("states", Column::States),
];

impl Default for Columns {
    fn default() -> Self {
        Self(vec![
            Column::Name,
            Column::Runtime,
            Column::Cpu,
            Column::Throttled,
            Column::RunqueueP50,
            Column::RunqueueP99,
            Column::Stall,
            Column::States,
        ])
    }
}

impl Columns {
    /// The metrics that the API has to add.
    pub fn metrics(&self) -> Vec<&str> {
        let mut names = vec![];
        for column in &self.0 {
            if let Column::Metric(name) = column {
                names.push(name.as_str());
            }
        }
        names
    }
}

impl FromStr for Columns {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let column = |name: &str| {
            let named = NAMED.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            match named {
                Some((_, column)) => Ok(column.clone()),
                None if name.starts_with("cgscope_") => Ok(Column::Metric(name.to_owned())),
                None => Err(format!(
                    "{name:?} is no column; there are {} and every metric of a container in /metrics",
                    NAMED.map(|(name, _)| name).join(", ")
                )),
            }
        };
        text.split(',').map(|name| column(name.trim())).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, column) in self.0.iter().enumerate() {
            let named = NAMED.iter().find(|(_, known)| known == column).map(|(name, _)| *name);
            let name = match column {
                Column::Metric(name) => name,
                _ => named.unwrap_or_default(),
            };
            write!(f, "{}{name}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl Column {
    /// What stands above it.
    pub fn heading(&self, rows: &[ContainerRow]) -> String {
        match self {
            Self::Name => "NAME".to_owned(),
            Self::Id => "ID".to_owned(),
            Self::Runtime => "RUNTIME".to_owned(),
            Self::Cpu => "CPU".to_owned(),
            Self::Throttled => "THROTTLED".to_owned(),
            Self::RunqueueP50 => "RUNQ p50".to_owned(),
            Self::RunqueueP99 => "RUNQ p99".to_owned(),
            Self::Threads => "THREADS".to_owned(),
            Self::Stall => "STALL".to_owned(),
            Self::States => "STATES".to_owned(),
            Self::Metric(name) => {
                let mut measured = rows.iter().flat_map(|row| &row.metrics);
                let title = measured.find(|one| one.name == *name).map(|one| &one.title);
                title.filter(|title| !title.is_empty()).unwrap_or(name).clone()
            }
        }
    }

    /// Which side it keeps to.
    pub fn side(&self) -> Side {
        match self {
            Self::Name | Self::Id | Self::Runtime | Self::States => Side::Left,
            _ => Side::Right,
        }
    }

    /// What stands in it; the bar of states is drawn by whoever knows the colours.
    pub fn cell(&self, row: &ContainerRow) -> String {
        let activity = row.activity.as_ref();
        let of = |number: Option<f64>, write: fn(f64) -> String| {
            number.map_or_else(|| UNKNOWN.to_owned(), write)
        };
        let runqueue = activity.and_then(|a| a.runqueue);
        let wait = |ns: Option<u64>| ns.map_or_else(|| UNKNOWN.to_owned(), number::time);
        match self {
            Self::Name => fit(&clean(&row.container.qualified_name()), NAME_COLUMNS),
            Self::Id => fit(&clean(row.container.id.as_str()), NAME_COLUMNS),
            Self::Runtime => row.container.runtime.to_string(),
            Self::Cpu => of(activity.and_then(|a| a.cpu_cores), |cores| format!("{cores:.2}")),
            Self::Throttled => of(activity.and_then(|a| a.throttled_share), number::share),
            Self::RunqueueP50 => wait(runqueue.map(|r| r.p50_ns)),
            Self::RunqueueP99 => wait(runqueue.map(|r| r.p99_ns)),
            Self::Threads => {
                of(activity.and_then(|a| a.threads), |threads| format!("{threads:.0}"))
            }
            Self::Stall => of(activity.and_then(|a| a.stall), |stall| format!("{stall:.2}")),
            Self::States => String::new(),
            Self::Metric(name) => number::cell(row.metrics.iter().filter(|one| one.name == *name)),
        }
    }
}

/// By what the rows are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    Stall,
    Cpu,
    RunqueueP99,
    Throttled,
    Name,
}

impl Order {
    /// The order a key stands for.
    pub fn of_key(key: char) -> Option<Self> {
        match key {
            's' => Some(Self::Stall),
            'c' => Some(Self::Cpu),
            'r' => Some(Self::RunqueueP99),
            't' => Some(Self::Throttled),
            'n' => Some(Self::Name),
            _ => None,
        }
    }

    /// Orders the rows: the largest first, the unknown last, names from the first letter.
    pub fn sort(self, rows: &mut [ContainerRow]) {
        let key = |row: &ContainerRow| -> Option<f64> {
            let activity = row.activity.as_ref()?;
            match self {
                Self::Stall => activity.stall,
                Self::Cpu => activity.cpu_cores,
                Self::RunqueueP99 => activity.runqueue.map(|r| r.p99_ns as f64),
                Self::Throttled => activity.throttled_share,
                Self::Name => None,
            }
        };
        rows.sort_by(|a, b| {
            let name = |row: &ContainerRow| row.container.qualified_name();
            match (key(a), key(b)) {
                (Some(a), Some(b)) if a != b => b.total_cmp(&a),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                _ => name(a).cmp(&name(b)),
            }
        });
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::{
        analyze::{Activity, StateShare},
        container::Container,
    };

    /// A row with a stall and a CPU use.
    pub fn row(name: &str, stall: Option<f64>, cpu_cores: Option<f64>) -> ContainerRow {
        let mut container = Container::kernel();
        container.name = name.to_owned();
        let activity = Activity {
            id: name.to_owned(),
            cpu_cores,
            throttled_share: None,
            runqueue: None,
            threads: Some(2.0),
            states: vec![StateShare { state: "runnable".to_owned(), time_ns: 9, share: 1.0 }],
            stall,
        };
        ContainerRow { container, alive: true, activity: Some(activity), metrics: vec![] }
    }

    #[test]
    fn columns_print_what_they_parse() {
        let text = "name,cpu,cgscope_sched_migrations_total,states";
        let columns: Columns = text.parse().unwrap();
        assert_eq!(columns.to_string(), text);
        assert_eq!(columns.metrics(), ["cgscope_sched_migrations_total"]);
        assert!("".parse::<Columns>().is_err());
        assert_eq!(Columns::default().to_string().parse(), Ok(Columns::default()));
    }

    #[test]
    fn orders() {
        let mut rows = vec![
            row("b", None, Some(1.0)),
            row("a", Some(1.0), Some(0.0)),
            row("c", Some(2.0), None),
        ];
        let names = |rows: &[ContainerRow]| -> String {
            rows.iter().map(|row| row.container.name.clone()).collect()
        };
        for (order, expected) in [(Order::Stall, "cab"), (Order::Cpu, "bac"), (Order::Name, "abc")]
        {
            order.sort(&mut rows);
            assert_eq!(names(&rows), expected, "{order:?}");
        }
    }
}
