#![no_main]
//! Fuzzes `heddle_fuzz::targets::json`.

heddle_fuzz::target!(json);
