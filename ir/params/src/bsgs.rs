//! Baby-step giant-step plans for linear transforms.
