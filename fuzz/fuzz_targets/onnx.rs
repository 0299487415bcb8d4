#![no_main]
//! Fuzzes `heddle_fuzz::targets::onnx`.

heddle_fuzz::target!(onnx);
