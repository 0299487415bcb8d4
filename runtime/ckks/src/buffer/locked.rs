//! Words on locked pages of their own.

use std::ops::{Deref, DerefMut};

use zeroize::Zeroize;

use super::Block;

/// Words for a secret that lives long: on pages that nothing else is on, locked in memory where the
/// system allows it, and wiped when dropped.
pub struct LockedBuffer {
    // Dropped in this order: a page is unlocked before it is freed.
    lock: Option<region::LockGuard>,
    block: Block,
    words: usize,
}

impl LockedBuffer {
    /// A buffer of zeros. A system that locks no pages, or no more of them, is no error: see
    /// [`LockedBuffer::is_locked`].
    pub fn zeroed(words: usize) -> Self {
        let page = region::page::size().next_power_of_two();
        let block = Block::aligned((8 * words).max(1).next_multiple_of(page), page);
        let lock = region::lock(block.start.as_ptr(), block.bytes).ok();
        Self { lock, block, words }
    }

    /// Whether the pages are locked.
    pub fn is_locked(&self) -> bool {
        self.lock.is_some()
    }
}

impl Deref for LockedBuffer {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        self.block.words(self.words)
    }
}

impl DerefMut for LockedBuffer {
    fn deref_mut(&mut self) -> &mut [u64] {
        self.block.words_mut(self.words)
    }
}

impl Drop for LockedBuffer {
    fn drop(&mut self) {
        self.deref_mut().zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locked_buffers_have_their_own_pages() {
        let page = region::page::size();
        for words in [1, 64, 2048, 4097] {
            let mut buffer = LockedBuffer::zeroed(words);
            assert_eq!(buffer.len(), words);
            assert!(buffer.iter().all(|&w| w == 0));
            buffer.fill(1);
            assert_eq!(buffer.as_ptr() as usize % page, 0);
            assert_eq!(buffer.block.bytes % page, 0);
        }
    }
}
