#![no_main]
//! Fuzzes `heddle_fuzz::targets::client`.

heddle_fuzz::target!(client);
