//! Precision reports: expected against obtained slot vectors.
