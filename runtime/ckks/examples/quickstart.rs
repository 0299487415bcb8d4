//! Encrypts a few numbers, computes on them, refreshes the result and decrypts it.
//!
//! `cargo run --release -p heddle-ckks --example quickstart`

use std::sync::Arc;

use heddle_ckks::params::bootstrap::{BootstrapParameters, BootstrapVariant};
use heddle_ckks::params::keys::{KeyKind, KeyUse};
use heddle_ckks::params::named;
use heddle_ckks::{
    Bootstrapper, Context, Decryptor, Error, Evaluator, KeyGenerator, Plaintext, SecretEncryptor,
    SecretKey,
};

fn main() -> Result<(), Error> {
    // A small ring, so that this takes seconds. It is not secure; the other sets of `named` are.
    let context = Context::new(named::toy(12)?)?;
    let (bootstrap, real) = (BootstrapParameters::default(), BootstrapVariant::Real);
    let bootstrapper = Bootstrapper::new(&context, &bootstrap, 3, real)?;
    let level = bootstrapper.input_level();

    // The client makes a secret, and the keys that the server's operations need.
    let secret = SecretKey::generate(&context)?;
    let generator = KeyGenerator::new(&context, &secret)?;
    let mut uses = bootstrapper.required_keys()?;
    uses.extend(generator.rotation_uses(&[1], level));
    let (kind, product_level) = (KeyKind::Relin, level + 1);
    uses.push(KeyUse {
        kind,
        level: product_level,
    });
    let evaluator = Evaluator::new(&context, Arc::new(generator.generate(&uses)?));

    // It encrypts eight numbers.
    let numbers = [0.1, 0.2, -0.3, 0.4, 0.5, -0.6, 0.7, 0.0];
    let scale = bootstrapper.output_scale();
    let plaintext = Plaintext::encode_real(evaluator.encoder(), &numbers, scale)?;
    let encryptor = SecretEncryptor::new(&context, &secret);
    let x = encryptor.encrypt(&plaintext, product_level)?.expand();

    // The server squares each, adds to it the square of the next, and refreshes the levels.
    let squares = evaluator.mul_rescale(&x, &x)?;
    let sums = evaluator.add(&squares, &evaluator.rotate(&squares, 1)?)?;
    let refreshed = bootstrapper.bootstrap(&evaluator, &sums)?;
    println!("level {} became {}", sums.level(), refreshed.level());

    // The client decrypts.
    let slots = Decryptor::new(&context, &secret).decrypt(&refreshed)?;
    for (i, slot) in slots.iter().enumerate() {
        let expected = numbers[i].powi(2) + numbers[(i + 1) % 8].powi(2);
        println!("{:8.5}, expected {expected:8.5}", slot.re);
    }
    Ok(())
}
