#![no_main]
//! Fuzzes `heddle_fuzz::targets::images`.

heddle_fuzz::target!(images);
