//! Aligned, pooled buffers of 64-bit words.
//!
//! Polynomials of a large ring take several mebibytes, are made and dropped at every operation, and
//! are walked with power-of-two strides. So large buffers are aligned to huge pages, ask the kernel
//! for them, and return to a pool when dropped instead of to the operating system, from which every
//! page costs a fault at its first use.
//!
//! A pool hands the words of one owner to the next, and the allocator keeps what was freed. So a
//! buffer of secrets says so ([`Secrecy`]) and is wiped when it is dropped; a `LockedBuffer`, of
//! the feature `secret`, moreover has pages of its own, which are never written to the swap space
//! where the system allows it.

#![allow(unsafe_code)]

#[cfg(feature = "secret")]
mod locked;

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use zeroize::Zeroize;

#[cfg(feature = "secret")]
pub(crate) use locked::LockedBuffer;

/// Alignment of every buffer: one cache line, one vector register.
pub const ALIGNMENT: usize = 64;

const PAGE: usize = 4 << 10;

const HUGE_PAGE: usize = 2 << 20;

/// Buffers of at least this many bytes are pooled.
const POOLED_FROM: usize = 64 << 10;

/// An owned allocation of initialised words.
struct Block {
    start: NonNull<u64>,
    bytes: usize,
    align: usize,
}

// SAFETY: a block owns its allocation exclusively; it is plain memory without thread affinity.
unsafe impl Send for Block {}

// SAFETY: a shared block gives shared access to plain words only.
unsafe impl Sync for Block {}

impl Block {
    fn layout(bytes: usize, align: usize) -> Layout {
        Layout::from_size_align(bytes, align).expect("buffer sizes are far below isize::MAX")
    }

    fn new(bytes: usize) -> Self {
        let align = match bytes {
            HUGE_PAGE.. => HUGE_PAGE,
            POOLED_FROM.. => PAGE,
            _ => ALIGNMENT,
        };
        Self::aligned(bytes, align)
    }

    /// `align` is a power of two.
    fn aligned(bytes: usize, align: usize) -> Self {
        let layout = Self::layout(bytes, align);
        // SAFETY: callers pass sizes of at least one cache line, so the layout is not empty.
        let raw = unsafe { alloc(layout) };
        let Some(start) = NonNull::new(raw.cast::<u64>()) else {
            handle_alloc_error(layout)
        };
        if bytes >= HUGE_PAGE {
            advise_huge_pages(raw, bytes);
        }
        // SAFETY: the allocation is `bytes` long; after this every word in it is initialised.
        unsafe { raw.write_bytes(0, bytes) };
        Self {
            start,
            bytes,
            align,
        }
    }

    /// The first words, at most `bytes / 8` of them.
    fn words(&self, words: usize) -> &[u64] {
        assert!(words <= self.bytes / 8);
        // SAFETY: the block holds at least `words` initialised words, and `self` is borrowed
        // shared.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), words) }
    }

    fn words_mut(&mut self, words: usize) -> &mut [u64] {
        assert!(words <= self.bytes / 8);
        // SAFETY: the block holds at least `words` initialised words, and `self` is borrowed
        // exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), words) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let layout = Self::layout(self.bytes, self.align);
        // SAFETY: `start` came from `alloc` with the same layout.
        unsafe { dealloc(self.start.as_ptr().cast(), layout) }
    }
}

#[cfg(target_os = "linux")]
fn advise_huge_pages(start: *mut u8, bytes: usize) {
    unsafe extern "C" {
        fn madvise(start: *mut core::ffi::c_void, length: usize, advice: i32) -> i32;
    }
    const MADV_HUGEPAGE: i32 = 14;
    // SAFETY: the range is an allocation of ours; the advice changes no content. A refusal costs
    // only speed.
    let _ = unsafe { madvise(start.cast(), bytes, MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn advise_huge_pages(_start: *mut u8, _bytes: usize) {}

/// Unused blocks of one size.
#[derive(Default)]
struct Class {
    blocks: Vec<Block>,
    /// The pool's clock when the class was last used.
    used: u64,
}

/// Unused blocks by size, at most `limit` bytes of them.
struct Unused {
    classes: BTreeMap<usize, Class>,
    bytes: usize,
    limit: usize,
    clock: u64,
}

/// Bytes of unused buffers that a pool keeps unless [`Pool::set_limit`] says otherwise: the working
/// set of a bootstrap.
pub const POOL_LIMIT: usize = 3 << 30;

impl Unused {
    fn take(&mut self, bytes: usize) -> Option<Block> {
        self.clock += 1;
        // A larger block is better than a fresh one, whose pages must all be touched.
        let class = self
            .classes
            .range_mut(bytes..=2 * bytes)
            .map(|(_, class)| class)
            .find(|class| !class.blocks.is_empty())?;
        class.used = self.clock;
        let block = class.blocks.pop()?;
        self.bytes -= block.bytes;
        Some(block)
    }

    /// Keeps a block; those of the sizes that were not used for longest make room. Returns what is
    /// to be freed, which is done without the lock.
    fn keep(&mut self, block: Block) -> Vec<Block> {
        self.clock += 1;
        self.bytes += block.bytes;
        let class = self.classes.entry(block.bytes).or_default();
        class.used = self.clock;
        class.blocks.push(block);
        self.shrink()
    }

    fn shrink(&mut self) -> Vec<Block> {
        let mut freed = Vec::new();
        while self.bytes > self.limit {
            let filled = self.classes.values_mut().filter(|c| !c.blocks.is_empty());
            let Some(block) = filled
                .min_by_key(|class| class.used)
                .and_then(|class| class.blocks.pop())
            else {
                break;
            };
            self.bytes -= block.bytes;
            freed.push(block);
        }
        freed
    }
}

/// The size of a pooled block for at least `bytes`: whole pages, huge ones from their size on, in
/// steps of an eighth at most, so that polynomials of neighbouring levels share blocks.
fn size_class(bytes: usize) -> usize {
    let page = if bytes >= HUGE_PAGE { HUGE_PAGE } else { PAGE };
    let step = (bytes.next_power_of_two() / 16).max(page);
    bytes.next_multiple_of(step)
}

struct Shared {
    unused: Mutex<Unused>,
    fresh: AtomicUsize,
}

/// Keeps large buffers that were dropped for those that are made next. A clone is the same pool;
/// what it keeps is freed with the last clone and the last buffer.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

impl Default for Pool {
    fn default() -> Self {
        Self(Arc::new(Shared {
            unused: Mutex::new(Unused {
                classes: BTreeMap::new(),
                bytes: 0,
                limit: POOL_LIMIT,
                clock: 0,
            }),
            fresh: AtomicUsize::new(0),
        }))
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool({} bytes unused)", self.lock().bytes)
    }
}

impl Pool {
    fn lock(&self) -> std::sync::MutexGuard<'_, Unused> {
        // A panic while the pool is held leaves it consistent: blocks are moved whole.
        self.0
            .unused
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Bounds the bytes of unused buffers that are kept; what exceeds the bound is freed now.
    pub fn set_limit(&self, bytes: usize) {
        let mut unused = self.lock();
        unused.limit = bytes;
        let freed = unused.shrink();
        drop(unused);
        drop(freed);
    }

    /// How many buffers that are large enough for the pool have come from the operating system so
    /// far. Where work repeats, the number stands still.
    pub fn fresh_buffers(&self) -> usize {
        self.0.fresh.load(Ordering::Relaxed)
    }

    /// A buffer of zeros.
    pub fn zeroed(&self, words: usize) -> Buffer {
        let mut buffer = self.stale(words);
        buffer.fill(0);
        buffer
    }

    /// A buffer with arbitrary contents, left from earlier use, for callers that overwrite all of
    /// it.
    pub fn stale(&self, words: usize) -> Buffer {
        self.stale_of(words, Secrecy::Public)
    }

    /// [`Pool::stale`] for words of the given secrecy.
    pub fn stale_of(&self, words: usize, secrecy: Secrecy) -> Buffer {
        let bytes = block_bytes(words);
        if bytes < POOLED_FROM {
            return Buffer::unpooled(words, secrecy);
        }
        let bytes = size_class(bytes);
        let pooled = self.lock().take(bytes);
        let block = pooled.unwrap_or_else(|| {
            self.0.fresh.fetch_add(1, Ordering::Relaxed);
            Block::new(bytes)
        });
        Buffer {
            block: Some(block),
            words,
            secrecy,
            pool: Some(self.clone()),
        }
    }
}

/// Bytes of a block for so many words: whole cache lines, one at least.
fn block_bytes(words: usize) -> usize {
    (words * 8).max(ALIGNMENT).next_multiple_of(ALIGNMENT)
}

/// What a buffer holds, and so what becomes of its words when it is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrecy {
    /// Nothing secret: the words stay in memory until it is used again.
    Public,
    /// A secret, or what a secret follows from: the words are wiped.
    Secret,
}

/// An owned slice of words, aligned to [`ALIGNMENT`].
pub struct Buffer {
    block: Option<Block>,
    words: usize,
    secrecy: Secrecy,
    /// Where the block goes when the buffer is dropped.
    pool: Option<Pool>,
}

impl Buffer {
    /// A buffer of zeros that belongs to no pool.
    pub fn zeroed(words: usize) -> Self {
        Self::unpooled(words, Secrecy::Public)
    }

    fn unpooled(words: usize, secrecy: Secrecy) -> Self {
        Self {
            block: Some(Block::new(block_bytes(words))),
            words,
            secrecy,
            pool: None,
        }
    }

    /// Whether the words are wiped when the buffer is dropped.
    pub fn secrecy(&self) -> Secrecy {
        self.secrecy
    }

    /// Declares what the words are from now on.
    pub fn set_secrecy(&mut self, secrecy: Secrecy) {
        self.secrecy = secrecy;
    }
}

impl Deref for Buffer {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        match &self.block {
            Some(block) => block.words(self.words),
            None => &[],
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u64] {
        match &mut self.block {
            Some(block) => block.words_mut(self.words),
            None => &mut [],
        }
    }
}

/// A copy is as secret as its original.
impl Clone for Buffer {
    fn clone(&self) -> Self {
        let mut copy = match &self.pool {
            Some(pool) => pool.stale_of(self.words, self.secrecy),
            None => Self::unpooled(self.words, self.secrecy),
        };
        copy.copy_from_slice(self);
        copy
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.secrecy == Secrecy::Secret {
            self.zeroize();
        }
        if let (Some(pool), Some(block)) = (&self.pool, self.block.take()) {
            let freed = pool.lock().keep(block);
            drop(freed);
        }
    }
}

impl Zeroize for Buffer {
    fn zeroize(&mut self) {
        self.deref_mut().zeroize();
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} words)", self.words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_of_secrets_are_wiped_and_so_are_their_copies() {
        let (pool, words) = (Pool::default(), 3 << 18);
        let mut secret = pool.stale_of(words, Secrecy::Secret);
        secret.fill(7);
        let copy = secret.clone();
        assert_eq!(copy.secrecy(), Secrecy::Secret);
        drop((secret, copy));
        for _ in 0..2 {
            assert!(pool.stale(words).iter().all(|&w| w == 0));
        }
        let mut public = pool.stale_of(words, Secrecy::Secret);
        public.fill(7);
        public.set_secrecy(Secrecy::Public);
        drop(public);
        let kept = [pool.stale(words), pool.stale(words)];
        assert!(kept.iter().any(|b| b.iter().all(|&w| w == 7)));
    }

    #[test]
    fn buffers_are_aligned_and_zeroed() {
        let pool = Pool::default();
        let sizes = [0, 1, 7, 4096, 1 << 18];
        let buffers =
            sizes.map(|words| [(words, Buffer::zeroed(words)), (words, pool.zeroed(words))]);
        for (words, mut buffer) in buffers.into_iter().flatten() {
            assert_eq!(buffer.len(), words);
            assert_eq!(buffer.as_ptr() as usize % ALIGNMENT, 0);
            assert!(buffer.iter().all(|&w| w == 0));
            buffer.fill(3);
            let copy = buffer.clone();
            drop(buffer);
            assert!(copy.iter().all(|&w| w == 3));
        }
    }

    #[test]
    fn large_buffers_return_zeroed_from_the_pool() {
        let pool = Pool::default();
        for _ in 0..4 {
            let mut buffer = pool.zeroed(1 << 19);
            assert!(buffer.iter().all(|&w| w == 0));
            buffer.fill(u64::MAX);
        }
        assert_eq!(pool.fresh_buffers(), 1);
    }

    #[test]
    fn pools_keep_no_more_than_their_limit_and_none_touches_another() {
        let (pool, other) = (Pool::default(), Pool::default());
        let words = 1 << 16;
        drop((pool.stale(words), pool.stale(words), other.stale(words)));
        assert_eq!(pool.fresh_buffers(), 2);
        pool.set_limit(8 * words);
        drop((pool.stale(words), pool.stale(words)));
        assert_eq!(pool.fresh_buffers(), 3);
        drop(other.stale(words));
        assert_eq!(other.fresh_buffers(), 1);
        // A buffer outlives its pool.
        let buffer = other.zeroed(words);
        drop(other);
        assert!(buffer.iter().all(|&w| w == 0));
    }
}
