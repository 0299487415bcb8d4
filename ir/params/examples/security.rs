//! Prints the named parameter sets: modulus, levels and security.

use heddle_params::bootstrap::BootstrapParameters;
use heddle_params::{Insecure, Parameters, named};

fn main() -> Result<(), heddle_params::Error> {
    let sparse = named::n16_qp1750_sparse64_literal();
    let sets = [
        (
            "N16_QP1714_DENSE",
            named::n16_qp1714_dense(),
            BootstrapParameters::default(),
        ),
        (
            "N16_QP1684_DENSE",
            named::n16_qp1684_dense(),
            named::n16_qp1684_dense_bootstrap(),
        ),
        (
            "N16_QP1750_SPARSE64",
            Parameters::insecure(sparse, Insecure::acknowledged())?,
            named::n16_qp1750_sparse64_bootstrap(),
        ),
    ];
    for (name, parameters, bootstrap) in sets {
        println!(
            "{name}: log2(QP) = {:.0}, {} levels, of which {} are left to the network; {:.1} bits{}",
            parameters.log_qp(),
            parameters.max_level(),
            bootstrap.output_level(&parameters) - bootstrap.input_level(),
            parameters.security().bits,
            if parameters.is_insecure() {
                ": INSECURE"
            } else {
                ""
            },
        );
    }
    Ok(())
}
