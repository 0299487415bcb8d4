//! The choice of parameters: which set the options call for, and whether it is secure.

use heddle_params::bootstrap::BootstrapParameters;
use heddle_params::{Parameters, ParametersLiteral, named};

use crate::error::Error;
use crate::options::{Convolution, Options, Ring};

/// The parameter set and the bootstrapping parameters that the options call for.
///
/// # Errors
/// If the set is below 128 bits and the ring is [`Ring::Secure`], or the ring's degree is out of
/// range.
pub(crate) fn choose(options: &Options) -> Result<(Parameters, BootstrapParameters), Error> {
    let eval_mod = options.eval_mod;
    let (literal_with, bootstrap): (fn(usize) -> ParametersLiteral, _) = match options.convolution {
        Convolution::SingleLevel => (
            named::n16_qp1714_dense_literal_with,
            BootstrapParameters::with_eval_mod(eval_mod),
        ),
        Convolution::MultiplexedParallel => (
            named::n16_qp1684_dense_literal_with,
            named::n16_qp1684_dense_bootstrap_with(eval_mod),
        ),
        Convolution::Siso => (
            named::n16_qp1750_sparse64_literal_with,
            named::n16_qp1750_sparse64_bootstrap_with(eval_mod),
        ),
    };
    let literal = literal_with(bootstrap.eval_mod_depth());
    let parameters = match options.ring {
        Ring::Secure => Parameters::new(literal).map_err(|error| match error {
            heddle_params::Error::Insecure { bits, .. } => Error::InsecureSet { bits },
            error => error.into(),
        })?,
        Ring::Insecure { log_n } => named::over_small_ring(literal, log_n)?,
    };
    bootstrap.check(&parameters)?;
    Ok((parameters, bootstrap))
}

#[cfg(test)]
mod tests {
    use super::*;
    use heddle_ir::preprocess::Preprocess;
    use heddle_params::eval_mod::EvalMod;

    fn options(convolution: Convolution, eval_mod: EvalMod, ring: Ring) -> Options {
        Options {
            convolution,
            eval_mod,
            ring,
            ..Options::new(Preprocess::named("unit").expect("it is built in"))
        }
    }

    #[test]
    fn every_choice_is_secure_or_refused() {
        for eval_mod in EvalMod::ALL {
            for convolution in [Convolution::SingleLevel, Convolution::MultiplexedParallel] {
                let (parameters, bootstrap) =
                    choose(&options(convolution, eval_mod, Ring::Secure)).unwrap();
                assert!(!parameters.is_insecure() && parameters.security().bits >= 128.0);
                assert_eq!(bootstrap.eval_mod, eval_mod);
                bootstrap.check(&parameters).unwrap();
            }
            let refused = choose(&options(Convolution::Siso, eval_mod, Ring::Secure));
            assert!(matches!(refused, Err(Error::InsecureSet { .. })));
            let ring = Ring::Insecure { log_n: 16 };
            let (parameters, _) = choose(&options(Convolution::Siso, eval_mod, ring)).unwrap();
            assert!(parameters.is_insecure());
        }
    }

    #[test]
    fn the_network_keeps_its_levels() {
        for (convolution, levels) in [
            (Convolution::SingleLevel, 15),
            (Convolution::MultiplexedParallel, 17),
            (Convolution::Siso, 15),
        ] {
            for eval_mod in EvalMod::ALL {
                let ring = Ring::Insecure { log_n: 10 };
                let (parameters, bootstrap) =
                    choose(&options(convolution, eval_mod, ring)).unwrap();
                let found = bootstrap.output_level(&parameters) - bootstrap.input_level();
                assert_eq!(found, levels, "{convolution:?}, {eval_mod}");
            }
        }
        let ring = Ring::Insecure { log_n: 40 };
        assert!(choose(&options(Convolution::SingleLevel, EvalMod::Cosine, ring)).is_err());
    }
}
