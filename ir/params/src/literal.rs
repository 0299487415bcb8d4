//! Parameter literals and their checked form.
