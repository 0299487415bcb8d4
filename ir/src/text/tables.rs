//! The tables that operations refer into: linear maps and polynomials; and layouts.
//!
//! ```text
//! map m0 : multiplexed<16x32x32, gap=1, grid=32x32> {bias_factor=0.125, doublings=1}
//!   term multiplexed<3x32x32, gap=1, grid=32x32> {factor=0.25} conv {groups=1, weight=w0, …}
//! polynomial p0 = [0.0, 1.25, 0.0, -0.25]
//! ```

use std::fmt::Write;

use super::cursor::{Cursor, float, to_value};
use super::line::Call;
use crate::error::Error;
use crate::layout::MultiplexedLayout;
use crate::linear::{LinearMap, LinearTerm};
use crate::nn::LinearOp;
use crate::slot::Chebyshev;

/// Most operations of one term of a linear map; real ones have a handful.
const MAX_OPS: usize = 64;

/// Linear maps and polynomials, by id.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) maps: Vec<LinearMap>,
    pub(super) polynomials: Vec<Chebyshev>,
}

pub(super) fn print_maps(maps: &[LinearMap], out: &mut String) {
    for (index, map) in maps.iter().enumerate() {
        let bias_factor = float(map.bias_factor);
        let _ = write!(
            out,
            "map m{index} : {} {{bias_factor={bias_factor}",
            map.output
        );
        if map.log_shares > 0 {
            let _ = write!(out, ", doublings={}", map.log_shares);
        }
        out.push_str("}\n");
        for term in &map.terms {
            let _ = write!(
                out,
                "  term {} {{factor={}}}",
                term.input,
                float(term.factor)
            );
            for (position, op) in term.ops.iter().enumerate() {
                out.push_str(if position == 0 { " " } else { ", " });
                linear_call(op).print(&[], out);
            }
            out.push('\n');
        }
    }
}

pub(super) fn print_polynomials(polynomials: &[Chebyshev], out: &mut String) {
    for (index, polynomial) in polynomials.iter().enumerate() {
        let coefficients: Vec<String> = polynomial
            .coefficients
            .iter()
            .map(|coefficient| float(*coefficient))
            .collect();
        let _ = writeln!(out, "polynomial p{index} = [{}]", coefficients.join(", "));
    }
}

impl Tables {
    /// Parses the line at `cursor` if it belongs to a table.
    pub(super) fn parse(&mut self, cursor: &mut Cursor<'_>) -> Result<bool, Error> {
        if cursor.keyword("map").is_ok() {
            expect_next(cursor, 'm', self.maps.len())?;
            cursor.expect(":")?;
            let output = parse_layout(cursor)?;
            cursor.expect("{")?;
            let bias_factor = parse_factor(cursor, "bias_factor")?;
            let mut log_shares = 0;
            if cursor.eat(",") {
                cursor.keyword("doublings")?;
                cursor.expect("=")?;
                log_shares = cursor.unsigned()?;
            }
            cursor.expect("}")?;
            self.maps.push(LinearMap {
                terms: Vec::new(),
                output,
                bias_factor,
                log_shares,
            });
        } else if cursor.keyword("term").is_ok() {
            let input = parse_layout(cursor)?;
            cursor.expect("{")?;
            let factor = parse_factor(cursor, "factor")?;
            cursor.expect("}")?;
            let mut ops = Vec::new();
            while !cursor.at_end() {
                if !ops.is_empty() {
                    cursor.expect(",")?;
                }
                let (call, operands) = Call::parse(cursor)?;
                if !operands.is_empty() {
                    return Err(cursor.error("an operation of a linear map has no operands"));
                }
                if ops.len() == MAX_OPS {
                    return Err(cursor.error(format!("a term has more than {MAX_OPS} operations")));
                }
                ops.push(linear_op(cursor, call)?);
            }
            let map = self
                .maps
                .last_mut()
                .ok_or_else(|| cursor.error("a term without a map"))?;
            map.terms.push(LinearTerm { input, ops, factor });
        } else if cursor.keyword("polynomial").is_ok() {
            expect_next(cursor, 'p', self.polynomials.len())?;
            cursor.expect("=")?;
            cursor.expect("[")?;
            let mut coefficients = Vec::new();
            while !cursor.eat("]") {
                if !coefficients.is_empty() {
                    cursor.expect(",")?;
                }
                coefficients.push(cursor.float()?);
            }
            self.polynomials.push(Chebyshev { coefficients });
        } else {
            return Ok(false);
        }
        cursor.end()?;
        Ok(true)
    }
}

fn expect_next(cursor: &mut Cursor<'_>, prefix: char, next: usize) -> Result<(), Error> {
    let found = cursor.reference(prefix)?;
    if found == next {
        Ok(())
    } else {
        Err(cursor.error(format!(
            "defines {prefix}{found}, but {prefix}{next} comes next"
        )))
    }
}

fn parse_factor(cursor: &mut Cursor<'_>, name: &str) -> Result<f64, Error> {
    cursor.keyword(name)?;
    cursor.expect("=")?;
    cursor.float()
}

/// An affine operation as a word and attributes.
pub(super) fn linear_call(op: &LinearOp) -> Call {
    Call::of_variant(to_value(op))
}

/// The inverse of [`linear_call`].
pub(super) fn linear_op(cursor: &Cursor<'_>, call: Call) -> Result<LinearOp, Error> {
    let what = format!("`{}`", call.word);
    cursor.decode(&what, call.into_variant())
}

/// Parses a layout as it displays.
pub(super) fn parse_layout(cursor: &mut Cursor<'_>) -> Result<MultiplexedLayout, Error> {
    cursor.keyword("multiplexed")?;
    cursor.expect("<")?;
    let [channels, height, width] = parse_extents(cursor)?;
    cursor.expect(",")?;
    cursor.keyword("gap")?;
    cursor.expect("=")?;
    let down = cursor.unsigned()?;
    let right = match cursor.eat("x") {
        true => cursor.unsigned()?,
        false => down,
    };
    cursor.expect(",")?;
    cursor.keyword("grid")?;
    cursor.expect("=")?;
    let [grid_height, grid_width] = parse_extents(cursor)?;
    cursor.expect(">")?;
    Ok(MultiplexedLayout {
        gap: [down, right],
        height,
        width,
        channels,
        grid_height,
        grid_width,
    })
}

fn parse_extents<const COUNT: usize>(cursor: &mut Cursor<'_>) -> Result<[usize; COUNT], Error> {
    let mut extents = [0; COUNT];
    for (axis, extent) in extents.iter_mut().enumerate() {
        if axis > 0 {
            cursor.expect("x")?;
        }
        *extent = cursor.unsigned()?;
    }
    Ok(extents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_round_trip() {
        for gap in [[2, 2], [1, 2], [4, 1]] {
            let layout = MultiplexedLayout::dense(5, 8, 8).on_same_grid(gap, 3, 2, 4);
            let text = layout.to_string();
            let mut cursor = Cursor::new(1, &text);
            assert_eq!(parse_layout(&mut cursor).unwrap(), layout);
            cursor.end().unwrap();
        }
    }
}
