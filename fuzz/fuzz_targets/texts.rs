#![no_main]
//! Fuzzes `heddle_fuzz::targets::texts`.

heddle_fuzz::target!(texts);
