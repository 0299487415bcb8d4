//! Aligned, pooled limb buffers.
