//! The crate's error type.

/// What can be wrong with parameters.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// The set is weaker than 128 bits and no insecure token was given.
    #[error(
        "parameters give {bits:.1} bits of security (log2 QP = {log_qp:.1}, at most {limit} at N = 2^{log_n}); \
         128 are needed\nhelp: shorten the modulus chain; to use the set all the same, for tests and studies only, \
         acknowledge it with the token `Insecure`"
    )]
    Insecure {
        /// Estimated classical bits.
        bits: f64,
        /// log2 of the whole modulus.
        log_qp: f64,
        /// Largest log2(QP) that gives 128 bits here.
        limit: u32,
        /// log2 of the ring degree.
        log_n: u32,
    },
    /// The encapsulation key, sparse and under `q0·p0`, is too weak.
    #[error(
        "the encapsulation key of weight {weight} gives {bits:.1} bits of security: its modulus has \
         {log_modulus:.1} bits, at most {limit} are allowed at N = 2^{log_n}\nhelp: use smaller first primes q0 and \
         p0; to use the set all the same, for tests and studies only, acknowledge it with the token `Insecure`"
    )]
    InsecureEncapsulation {
        /// Estimated classical bits.
        bits: f64,
        /// Hamming weight of the ephemeral secret.
        weight: u32,
        /// log2(q0·p0).
        log_modulus: f64,
        /// Largest log2(q0·p0) allowed.
        limit: u32,
        /// log2 of the ring degree.
        log_n: u32,
    },
    /// The ring degree is out of range.
    #[error("`log_n` is {0}; it must be between 4 and 17")]
    RingDegree(u32),
    /// A prime size is out of range.
    #[error(
        "a prime of {bits} bits was asked for in `{chain}`; sizes must be {least} to 50 at this ring degree"
    )]
    PrimeSize {
        /// `log_q` or `log_p`.
        chain: &'static str,
        /// The size asked for.
        bits: u32,
        /// The least size allowed.
        least: u32,
    },
    /// A chain is empty or too long.
    #[error("`{chain}` has {found} primes; it must have 1 to {most}")]
    ChainLength {
        /// `log_q` or `log_p`.
        chain: &'static str,
        /// Primes found.
        found: usize,
        /// Most primes allowed.
        most: usize,
    },
    /// There are not enough primes of a size.
    #[error(
        "there are fewer than {wanted} primes of {bits} bits that are 1 modulo 2^{modulus_log}"
    )]
    NotEnoughPrimes {
        /// The size asked for.
        bits: u32,
        /// How many were asked for.
        wanted: usize,
        /// log2(2N).
        modulus_log: u32,
    },
    /// A Hamming weight does not fit the ring.
    #[error("`{field}` is {weight}; it must be between 1 and the ring degree 2^{log_n}")]
    Weight {
        /// The field that holds it.
        field: &'static str,
        /// The weight found.
        weight: u32,
        /// log2 of the ring degree.
        log_n: u32,
    },
    /// No digit decomposition exists at some level.
    #[error(
        "the special primes ({special_bits} bits) do not exceed the prime q_{limb} ({limb_bits} bits) by \
         {margin} bits\nhelp: add special primes to `log_p`"
    )]
    SpecialPrimes {
        /// Bits of all special primes together.
        special_bits: u32,
        /// The limb that does not fit a digit.
        limb: usize,
        /// Its bits.
        limb_bits: u32,
        /// The margin needed.
        margin: u32,
    },
    /// A level is above the top of the chain.
    #[error("level {level} does not exist; the highest is {max}")]
    Level {
        /// The level asked for.
        level: usize,
        /// The highest level.
        max: usize,
    },
    /// A structural request that does not fit: a linear transform, a DFT or a bootstrap.
    #[error("{what}: {detail}")]
    Structure {
        /// What was being planned.
        what: &'static str,
        /// What does not fit and how to fix it.
        detail: String,
    },
}
