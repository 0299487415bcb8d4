//! Heddle's three intermediate representations, their text form, verifiers, interpreters and the plan file.
#![forbid(unsafe_code)]
