//! Operators between two expressions: numbers with numbers, and with each value of a vector. Vectors with vectors: [`matching`].

use promql_parser::parser::{BinaryExpr, token};

use super::{
    engine::Engine,
    error::{PromqlError, Result},
    matching,
    value::{Grid, Line, Value, merge_equal},
};

/// An operator, and whether it gives 0 or 1 instead of leaving out.
#[derive(Clone, Copy)]
pub struct Operator {
    /// Which.
    pub id: token::TokenId,
    /// Whether a comparison gives 0 or 1.
    pub is_bool: bool,
}

impl Operator {
    /// The result of two numbers; `None` when a comparison leaves it out.
    pub fn apply(self, a: f64, b: f64) -> Option<f64> {
        let is = |holds: bool| match self.is_bool {
            true => Some(f64::from(u8::from(holds))),
            false => holds.then_some(a),
        };
        match self.id {
            token::T_ADD => Some(a + b),
            token::T_SUB => Some(a - b),
            token::T_MUL => Some(a * b),
            token::T_DIV => Some(a / b),
            token::T_MOD => Some(a % b),
            token::T_POW => Some(a.powf(b)),
            token::T_ATAN2 => Some(a.atan2(b)),
            token::T_EQLC => is(a == b),
            token::T_NEQ => is(a != b),
            token::T_GTR => is(a > b),
            token::T_LSS => is(a < b),
            token::T_GTE => is(a >= b),
            token::T_LTE => is(a <= b),
            _ => None,
        }
    }

    /// Whether it compares.
    pub fn is_comparison(self) -> bool {
        matches!(
            self.id,
            token::T_EQLC
                | token::T_NEQ
                | token::T_GTR
                | token::T_LSS
                | token::T_GTE
                | token::T_LTE
        )
    }

    /// Whether the metric's name no longer says what the result is.
    pub fn drops_name(self) -> bool {
        self.is_bool || !self.is_comparison()
    }
}

/// Evaluates an operation.
pub fn eval(engine: &mut Engine<'_>, operation: &BinaryExpr, grid: &Grid) -> Result<Value> {
    let operator = Operator { id: operation.op.id(), is_bool: operation.return_bool() };
    let left = engine.eval(&operation.lhs, grid)?;
    let right = engine.eval(&operation.rhs, grid)?;
    match (left, right) {
        (Value::Scalar(a), Value::Scalar(b)) => {
            let both = a.into_iter().zip(b);
            let values = both.map(|(a, b)| operator.apply(a, b).unwrap_or(f64::NAN));
            Ok(Value::Scalar(values.collect()))
        }
        (Value::Vector(lines), Value::Scalar(numbers)) => {
            with_numbers(lines, &numbers, operator, |value, number| operator.apply(value, number))
        }
        (Value::Scalar(numbers), Value::Vector(lines)) => {
            with_numbers(lines, &numbers, operator, |value, number| {
                let result = operator.apply(number, value)?;
                // A comparison keeps the value of the vector, on whichever side it stands.
                Some(if operator.drops_name() { result } else { value })
            })
        }
        (Value::Vector(left), Value::Vector(right)) => {
            let lines = matching::eval(engine, operator, operation, left, right, grid)?;
            Ok(Value::Vector(lines))
        }
        _ => Err(PromqlError::bad_data("operators take scalars and instant vectors only")),
    }
}

fn with_numbers(
    lines: Vec<Line>,
    numbers: &[f64],
    operator: Operator,
    apply: impl Fn(f64, f64) -> Option<f64>,
) -> Result<Value> {
    let changed = lines.into_iter().map(|line| {
        let values = line.values.into_iter().zip(numbers);
        Line {
            labels: if operator.drops_name() { line.labels.without_name() } else { line.labels },
            values: values.map(|(value, number)| apply(value?, *number)).collect(),
        }
    });
    Ok(Value::Vector(merge_equal(changed.collect())?))
}
