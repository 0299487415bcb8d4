//! Goldschmidt's division in the schedule. Every product of the quotient ends at exactly the
//! network's scale, because the factor is evaluated at the scale that the next rescale removes. The
//! scales of squared deviations drift by as little as primes differ, and their types say so.

use heddle_ir::ValueId;
use heddle_ir::ckks::Op;
use heddle_ir::slot::{Chebyshev, Normalisation, is_square};

use super::Scheduler;

impl Scheduler<'_> {
    /// `g(x)/Σ g(x)`, see [`Normalisation`].
    pub(super) fn normalise(
        &mut self,
        division: &Normalisation,
        x: ValueId,
        name: &str,
    ) -> ValueId {
        let numerator = self.stage(&division.numerator, x, name);
        let denominator = match division.denominator == division.numerator {
            true => numerator,
            false => self.stage(&division.denominator, x, name),
        };
        let sum = division
            .rotations
            .iter()
            .fold(denominator, |sum, by| self.add_rotated(sum, *by, name));
        let mut quotient = self.times(numerator, &division.start, sum, name);
        let mut factor = division.deviation.clone();
        match factor.coefficients.first_mut() {
            Some(constant) => *constant += 1.0,
            None => factor.coefficients.push(1.0),
        }
        // What the factor is a polynomial of: the sum, then e, e², e⁴ …
        let mut argument = sum;
        for iteration in 0..division.iterations {
            quotient = self.times(quotient, &factor, argument, name);
            if iteration + 1 == division.iterations {
                break;
            }
            argument = match iteration {
                0 => self.stage(&division.deviation, sum, name),
                _ => self.square(argument, name),
            };
            factor.coefficients = vec![1.5, 0.0, 0.5];
        }
        quotient
    }

    /// A polynomial, at the network's scale unless it is a square.
    fn stage(&mut self, polynomial: &Chebyshev, x: ValueId, name: &str) -> ValueId {
        if is_square(polynomial) {
            return self.square(x, name);
        }
        let level = self.graph.ty(x).level - polynomial.depth();
        self.polynomial(polynomial.clone(), x, level, self.log_scale, name)
    }

    /// `x²` at the scale that the rescale leaves, close to the network's.
    fn square(&mut self, x: ValueId, name: &str) -> ValueId {
        let product = self.derive(Op::Multiply, &[x, x], name);
        self.derive(Op::Rescale, &[product], name)
    }

    /// `x·p(y)`, rescaled to the network's scale.
    fn times(&mut self, x: ValueId, polynomial: &Chebyshev, y: ValueId, name: &str) -> ValueId {
        let factor_level = self.graph.ty(y).level - polynomial.depth();
        let level = factor_level.min(self.graph.ty(x).level);
        let log_scale = self.log_scale + self.log_q(level) - self.graph.ty(x).log_scale;
        let factor = self.polynomial(polynomial.clone(), y, factor_level, log_scale, name);
        let (x, factor) = (
            self.drop_to(x, level, name),
            self.drop_to(factor, level, name),
        );
        let product = self.derive(Op::Multiply, &[x, factor], name);
        self.rescale(product, name)
    }
}
