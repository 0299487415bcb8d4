#![no_main]
//! Fuzzes `heddle_fuzz::targets::plan`.

heddle_fuzz::target!(plan);
