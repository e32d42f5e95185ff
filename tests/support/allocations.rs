//! How much memory a piece of work asks for and holds at once, counted in its own thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static MOST: Cell<usize> = const { Cell::new(0) };
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

fn took(bytes: usize) {
    let held = HELD.get().saturating_add(bytes);
    HELD.set(held);
    MOST.set(MOST.get().max(held));
    ASKED.set(ASKED.get().saturating_add(bytes as u64));
}

fn gave(bytes: usize) {
    // What another thread took may be given back here.
    HELD.set(HELD.get().saturating_sub(bytes));
}

// SAFETY: every call goes on to the system's allocator as it came; counting touches plain numbers of this thread only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        gave(layout.size());
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        took(size);
        gave(layout.size());
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What `work` gives, and the most bytes that it held at once, asked for and not given back.
pub fn held_at_most<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    MOST.set(before);
    let result = work();
    (result, MOST.get().saturating_sub(before))
}

/// How many bytes are given back where the value is dropped.
pub fn given_back<T>(value: T) -> usize {
    // Far from 0, at which the count would stop where another thread took the memory.
    let before = HELD.get() + (1 << 40);
    HELD.set(before);
    drop(value);
    let after = HELD.get();
    HELD.set(after.saturating_sub(1 << 40));
    before.saturating_sub(after)
}

/// All bytes that this thread has asked for so far: a clock of its work that goes the same in each run.
pub fn asked() -> u64 {
    ASKED.get()
}

/// What `work` gives, and how many bytes it asked for in all, given back or not: a count of its work that is the same in each
/// run, where time is not.
pub fn asked_for<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = asked();
    let result = work();
    (result, asked() - before)
}

#[test]
fn what_is_held_is_counted() {
    let (length, most) = held_at_most(|| vec![1u8; 3_000_000].len() + vec![1u8; 2_000_000].len());
    assert_eq!(length, 5_000_000);
    assert!((5_000_000..5_100_000).contains(&most) || (3_000_000..3_100_000).contains(&most), "{most}");
}
