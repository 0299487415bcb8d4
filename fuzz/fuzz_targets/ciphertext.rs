#![no_main]
//! Fuzzes `heddle_fuzz::targets::ciphertext`.

heddle_fuzz::target!(ciphertext);
