#![no_main]
//! Fuzzes `heddle_fuzz::targets::keys`.

heddle_fuzz::target!(keys);
