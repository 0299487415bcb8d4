//! The fitted functions of EvalMod as the engine evaluates them.

use crate::circuits::polynomial::ChebyshevPolynomial;
use heddle_params::bootstrap::BootstrapParameters;
use heddle_params::sine_fit::SineFit;

/// A fitted cosine and what follows it, see [`heddle_params::eval_mod`].
#[derive(Clone, Debug)]
pub struct Cosine {
    /// Chebyshev polynomial in `t = (x − centre)/half_width`, `t` in `[−1, 1]`.
    pub polynomial: ChebyshevPolynomial,
    /// The centre of the interval of `x`.
    pub centre: f64,
    /// Its half width.
    pub half_width: f64,
    /// Double angles that must follow.
    pub double_angles: u32,
    /// The inverse sine that must follow, if there is one.
    pub arcsine: Option<Arcsine>,
    /// Largest error of `sin(2πx)/2π`, in units of `q_0`.
    pub error: f64,
}

/// An inverse sine.
#[derive(Clone, Debug)]
pub struct Arcsine {
    /// Odd Chebyshev polynomial in `s/half_width`, whose value is the message.
    pub polynomial: ChebyshevPolynomial,
    /// The sine of a message of 1.
    pub half_width: f64,
    /// The ratio R of `q_0` to a message of 1 that it was fitted for.
    pub message_ratio: f64,
}

impl Cosine {
    /// Fits the cosine of the given bootstrapping parameters.
    pub fn fit(parameters: &BootstrapParameters) -> Self {
        let fitted = SineFit::new(parameters);
        Self {
            polynomial: ChebyshevPolynomial::new(fitted.coefficients),
            centre: fitted.centre,
            half_width: fitted.half_width,
            double_angles: fitted.double_angles,
            arcsine: fitted.arcsine.map(|arcsine| Arcsine {
                polynomial: ChebyshevPolynomial::new(arcsine.coefficients),
                half_width: arcsine.half_width,
                message_ratio: f64::from(parameters.log_message_ratio).exp2(),
            }),
            error: fitted.error,
        }
    }

    /// Levels that EvalMod uses with it.
    pub fn depth(&self) -> usize {
        let arcsine = self.arcsine.as_ref();
        self.polynomial.depth()
            + self.double_angles as usize
            + arcsine.map_or(0, |arcsine| arcsine.polynomial.depth())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heddle_params::eval_mod::EvalMod;

    #[test]
    fn depths_are_those_of_the_parameters() {
        for eval_mod in EvalMod::ALL {
            let parameters = BootstrapParameters::with_eval_mod(eval_mod);
            let cosine = Cosine::fit(&parameters);
            assert_eq!(cosine.depth(), parameters.eval_mod_depth(), "{eval_mod}");
        }
    }
}
