//! Whatever meets a secret: the secret key, the generation of keys, encryption with the secret key,
//! decryption, and what a process that holds secrets does once. All of it is behind the cargo
//! feature `secret`.

mod decrypt;
mod encrypt;
mod generate;
mod key;
mod process;
pub mod rig;
#[cfg(test)]
mod tests;

pub use decrypt::Decryptor;
pub use encrypt::SecretEncryptor;
pub use generate::KeyGenerator;
pub use key::SecretKey;
pub use process::forbid_core_dumps;
