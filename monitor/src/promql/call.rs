//! Functions: which there are, and what each does with its arguments.

use promql_parser::parser::{Call, Expr};

use super::{
    calendar::Date,
    engine::{Engine, map},
    error::{PromqlError, Result},
    histogram,
    math::{least, most},
    order, ranges, rename,
    source::Condition,
    value::{Grid, Labels, Line, NAME, Value, merge_equal},
    window,
};

/// Evaluates a call.
pub fn eval(engine: &mut Engine<'_>, call: &Call, grid: &Grid) -> Result<Value> {
    let args: Vec<&Expr> = call.args.args.iter().map(AsRef::as_ref).collect();
    let name = call.func.name;
    if let Some(of_window) = window::of_name(name) {
        return over_window(engine, name, of_window, &args, grid).map(Value::Vector);
    }
    if let Some(change) = of_number(name) {
        return Ok(Value::Vector(map(engine.vector(arg(&args, 0)?, grid)?, change)?));
    }
    if let Some(part) = of_date(name) {
        let lines = match args.first() {
            Some(expr) => engine.vector(expr, grid)?,
            None => vec![now(grid)],
        };
        return Ok(Value::Vector(map(lines, |seconds| {
            if seconds.is_finite() { part(&Date::of(seconds)) as f64 } else { f64::NAN }
        })?));
    }
    let seconds = |ms: i64| ms as f64 / 1e3;
    let constant = |value: f64| Ok(Value::Scalar(vec![value; grid.count]));
    match name {
        "time" => Ok(Value::Scalar(grid.instants().map(seconds).collect())),
        "pi" => constant(std::f64::consts::PI),
        "start" => constant(seconds(engine.query.start_ms)),
        "end" => constant(seconds(engine.query.end_ms())),
        "range" => constant(seconds(engine.query.end_ms() - engine.query.start_ms)),
        "step" => constant(if engine.is_range { seconds(engine.query.step_ms) } else { 0.0 }),
        "min_of" | "max_of" => {
            let (a, b) = (scalar(engine, &args, 0, grid)?, scalar(engine, &args, 1, grid)?);
            let pick = if name == "min_of" { least } else { most };
            Ok(Value::Scalar(a.into_iter().zip(b).map(|(a, b)| pick(a, b)).collect()))
        }
        "vector" => {
            let values = scalar(engine, &args, 0, grid)?.into_iter().map(Some).collect();
            Ok(Value::Vector(vec![Line { labels: Labels::default(), values }]))
        }
        "scalar" => {
            let lines = engine.vector(arg(&args, 0)?, grid)?;
            Ok(Value::Scalar((0..grid.count).map(|i| only_value(&lines, i)).collect()))
        }
        "timestamp" => timestamp(engine, arg(&args, 0)?, grid).map(Value::Vector),
        "round" => {
            let nearest = match args.get(1) {
                Some(_) => scalar(engine, &args, 1, grid)?,
                None => vec![1.0; grid.count],
            };
            with_scalars(engine, &args, grid, |value, i| {
                let inverse = 1.0 / nearest[i];
                Some((value * inverse + 0.5).floor() / inverse)
            })
        }
        "clamp" => {
            let (low, high) = (scalar(engine, &args, 1, grid)?, scalar(engine, &args, 2, grid)?);
            with_scalars(engine, &args, grid, |value, i| {
                let is_empty = high[i] < low[i];
                (!is_empty).then(|| most(low[i], least(high[i], value)))
            })
        }
        "clamp_min" | "clamp_max" => {
            let bound = scalar(engine, &args, 1, grid)?;
            let pick = if name == "clamp_min" { most } else { least };
            with_scalars(engine, &args, grid, |value, i| Some(pick(bound[i], value)))
        }
        "absent" => {
            let lines = engine.vector(arg(&args, 0)?, grid)?;
            let is_there = |i: usize| lines.iter().any(|line| line.values[i].is_some());
            Ok(Value::Vector(absent(arg(&args, 0)?, grid, is_there)))
        }
        "absent_over_time" => {
            let windows = ranges::windows(engine, arg(&args, 0)?, grid)?;
            let mut there = vec![false; grid.count];
            // Names do not matter here, and without them series may be equal.
            for line in windows.lines(engine, grid, &[], true, |_| Some(1.0))? {
                there.iter_mut().zip(line.values).for_each(|(t, v)| *t |= v.is_some());
            }
            Ok(Value::Vector(absent(arg(&args, 0)?, grid, |i| there[i])))
        }
        "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc" => {
            let lines = engine.vector(arg(&args, 0)?, grid)?;
            if engine.is_range {
                let what = "sort is ineffective for range queries since results are always ordered by labels";
                engine.notes.warn(what);
                return Ok(Value::Vector(lines));
            }
            let labels = args[1..].iter().map(|arg| text(arg)).collect::<Result<Vec<_>>>()?;
            Ok(Value::Vector(order::sort(name, lines, &labels)))
        }
        "label_replace" | "label_join" => {
            let texts = args[1..].iter().map(|arg| text(arg)).collect::<Result<Vec<_>>>()?;
            let lines = engine.vector(arg(&args, 0)?, grid)?;
            let lines = match (name, &texts[..]) {
                ("label_replace", [to, replacement, from, regex]) => {
                    rename::replace(lines, to, replacement, from, regex)?
                }
                ("label_join", [to, separator, from @ ..]) => {
                    rename::join(lines, to, separator, from)?
                }
                _ => return Err(PromqlError::bad_data(format!("too few arguments of {name}"))),
            };
            Ok(Value::Vector(merge_equal(lines)?))
        }
        "histogram_quantile" => {
            let q = scalar(engine, &args, 0, grid)?;
            q.iter().for_each(|q| engine.notes.check_quantile(*q));
            let lines = engine.vector(arg(&args, 1)?, grid)?;
            let lines = histogram::each(engine, lines, grid, |i, b| histogram::quantile(q[i], b))?;
            Ok(Value::Vector(lines))
        }
        "histogram_fraction" => {
            let (low, high) = (scalar(engine, &args, 0, grid)?, scalar(engine, &args, 1, grid)?);
            let lines = engine.vector(arg(&args, 2)?, grid)?;
            let lines = histogram::each(engine, lines, grid, |i, b| {
                histogram::fraction(low[i], high[i], b)
            })?;
            Ok(Value::Vector(lines))
        }
        // Of native histograms, of which there are none.
        "histogram_avg" | "histogram_count" | "histogram_sum" | "histogram_stddev"
        | "histogram_stdvar" => {
            engine.vector(arg(&args, 0)?, grid)?;
            Ok(Value::Vector(vec![]))
        }
        _ => Err(PromqlError::bad_data(format!("the function {name} is not supported"))),
    }
}

fn arg<'a>(args: &[&'a Expr], i: usize) -> Result<&'a Expr> {
    args.get(i).copied().ok_or_else(|| PromqlError::bad_data("too few arguments"))
}

fn scalar(engine: &mut Engine<'_>, args: &[&Expr], i: usize, grid: &Grid) -> Result<Vec<f64>> {
    engine.scalar(arg(args, i)?, grid)
}

/// A text that is written in the query.
pub fn text(expr: &Expr) -> Result<String> {
    match ranges::bare(expr) {
        Expr::StringLiteral(literal) => Ok(literal.val.clone()),
        _ => Err(PromqlError::bad_data("expected a string")),
    }
}

fn over_window(
    engine: &mut Engine<'_>,
    name: &str,
    of_window: window::OfWindow,
    args: &[&Expr],
    grid: &Grid,
) -> Result<Vec<Line>> {
    let is_range =
        |arg: &&&Expr| matches!(ranges::bare(arg), Expr::MatrixSelector(_) | Expr::Subquery(_));
    let expr = *args
        .iter()
        .find(is_range)
        .ok_or_else(|| PromqlError::bad_data("expected a range vector"))?;
    let mut numbers = vec![];
    for arg in args.iter().filter(|arg| !is_range(arg)) {
        numbers.push(engine.scalar(arg, grid)?);
    }
    match name {
        "quantile_over_time" => {
            numbers.iter().flatten().for_each(|q| engine.notes.check_quantile(*q));
        }
        "double_exponential_smoothing" => {
            let what = ["smoothing", "trend"];
            for (factor, what) in
                numbers.iter().zip(what).flat_map(|(f, w)| f.iter().map(move |f| (f, w)))
            {
                if !(*factor > 0.0 && *factor < 1.0) {
                    let message =
                        format!("invalid {what} factor. Expected: 0 < factor < 1, got: {factor}");
                    return Err(PromqlError::execution(message));
                }
            }
        }
        _ => {}
    }
    let windows = ranges::windows(engine, expr, grid)?;
    if matches!(name, "rate" | "increase" | "irate")
        && let Some(series) = windows.series.first()
    {
        let metric = series.labels.get(NAME);
        let is_counter = metric.is_empty()
            || ["_total", "_sum", "_count", "_bucket"].iter().any(|end| metric.ends_with(end));
        if !is_counter {
            engine.notes.inform(format!(
                "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {metric:?}"
            ));
        }
    }
    let keeps_name = matches!(name, "last_over_time" | "first_over_time");
    windows.lines(engine, grid, &numbers, keeps_name, of_window)
}

fn now(grid: &Grid) -> Line {
    let values = grid.instants().map(|at_ms| Some(at_ms as f64 / 1e3)).collect();
    Line { labels: Labels::default(), values }
}

fn of_number(name: &str) -> Option<fn(f64) -> f64> {
    let function: fn(f64) -> f64 = match name {
        "abs" => f64::abs,
        "ceil" => f64::ceil,
        "floor" => f64::floor,
        "exp" => f64::exp,
        "sqrt" => f64::sqrt,
        "ln" => f64::ln,
        "log2" => f64::log2,
        "log10" => f64::log10,
        "sin" => f64::sin,
        "cos" => f64::cos,
        "tan" => f64::tan,
        "asin" => f64::asin,
        "acos" => f64::acos,
        "atan" => f64::atan,
        "sinh" => f64::sinh,
        "cosh" => f64::cosh,
        "tanh" => f64::tanh,
        "asinh" => f64::asinh,
        "acosh" => f64::acosh,
        "atanh" => f64::atanh,
        "deg" => f64::to_degrees,
        "rad" => f64::to_radians,
        "sgn" => |v| {
            if v < 0.0 {
                -1.0
            } else if v > 0.0 {
                1.0
            } else {
                v
            }
        },
        _ => return None,
    };
    Some(function)
}

fn of_date(name: &str) -> Option<fn(&Date) -> i64> {
    let function: fn(&Date) -> i64 = match name {
        "year" => |d| d.year,
        "month" => |d| d.month,
        "day_of_month" => |d| d.day,
        "day_of_week" => |d| d.weekday,
        "day_of_year" => |d| d.day_of_year,
        "days_in_month" => Date::days_in_month,
        "hour" => |d| d.hour,
        "minute" => |d| d.minute,
        _ => return None,
    };
    Some(function)
}

/// The one value of a step; NaN when there is none or more.
fn only_value(lines: &[Line], i: usize) -> f64 {
    let mut values = lines.iter().filter_map(|line| line.values[i]);
    match (values.next(), values.next()) {
        (Some(value), None) => value,
        _ => f64::NAN,
    }
}

/// Each value changed by its step; `None` leaves it out.
fn with_scalars(
    engine: &mut Engine<'_>,
    args: &[&Expr],
    grid: &Grid,
    change: impl Fn(f64, usize) -> Option<f64>,
) -> Result<Value> {
    let lines = engine.vector(arg(args, 0)?, grid)?;
    let changed = lines.into_iter().map(|line| {
        let values = line.values.into_iter().enumerate();
        Line {
            labels: line.labels.without_name(),
            values: values.map(|(i, value)| change(value?, i)).collect(),
        }
    });
    Ok(Value::Vector(merge_equal(changed.collect())?))
}

fn timestamp(engine: &mut Engine<'_>, expr: &Expr, grid: &Grid) -> Result<Vec<Line>> {
    if let Expr::VectorSelector(selector) = ranges::bare(expr) {
        return map(engine.select(selector, grid, true)?, |seconds| seconds);
    }
    let lines = engine.vector(expr, grid)?.into_iter().map(|line| {
        let values = line.values.into_iter().zip(grid.instants());
        let values = values.map(|(value, at_ms)| value.map(|_| at_ms as f64 / 1e3)).collect();
        Line { labels: line.labels.without_name(), values }
    });
    merge_equal(lines.collect())
}

/// 1 where nothing is there, under the labels that were asked for.
fn absent(expr: &Expr, grid: &Grid, is_there: impl Fn(usize) -> bool) -> Vec<Line> {
    let selector = match expr {
        Expr::VectorSelector(selector) => Some(selector),
        Expr::MatrixSelector(matrix) => Some(&matrix.vs),
        _ => None,
    };
    let labels = selector
        .map(|s| Condition::of(s.name.as_deref(), &s.matchers).named_labels())
        .unwrap_or_default();
    let values: Vec<_> = (0..grid.count).map(|i| (!is_there(i)).then_some(1.0)).collect();
    let is_any = values.iter().any(Option::is_some);
    is_any.then_some(Line { labels, values }).into_iter().collect()
}
