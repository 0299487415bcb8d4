//! Secret, public and key-switching keys and their generation.
