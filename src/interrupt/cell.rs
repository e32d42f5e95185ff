//! Which cell of the notebook is running.
//!
//! evcxr compiles every cell to its own library and loads it, so the number of libraries that the process has loaded
//! distinguishes cells. Nothing else does: all cells run one after another on the same thread of the same process.

/// A number that stays the same while one cell runs and differs in the next; `None` where the system cannot say. Then each
/// `show` replaces the cell's output: put views that belong together in a page.
///
/// Linux and macOS count loaded libraries. On other systems, including Windows, this is `None`.
pub(crate) fn current() -> Option<u64> {
    loaded_libraries()
}

/// evcxr names the library of its n-th cell `libcode_n.so`.
#[cfg(target_os = "linux")]
const CELL_LIBRARY: &[u8] = b"/libcode_";

/// Counts cell libraries; where none has evcxr's name for them, all libraries ever loaded. Cells are preferred
/// because a driver or a name service may load a library in the middle of a cell.
#[cfg(target_os = "linux")]
fn loaded_libraries() -> Option<u64> {
    #[derive(Default)]
    struct Count {
        cells: u64,
        all: u64,
    }

    extern "C" fn visit(info: *mut libc::dl_phdr_info, _size: usize, count: *mut libc::c_void) -> libc::c_int {
        // SAFETY: the loader passes a valid `info` whose name is null or a C string, and `count` is the address
        // that `loaded_libraries` handed to `dl_iterate_phdr`, not used elsewhere until that call returns.
        let (count, name) = unsafe {
            let name = (*info).dlpi_name;
            let name = if name.is_null() { c"" } else { std::ffi::CStr::from_ptr(name) };
            (&mut *count.cast::<Count>(), name.to_bytes())
        };
        // SAFETY: as above; every Linux C library since 2004 fills this field.
        count.all = unsafe { (*info).dlpi_adds };
        count.cells += u64::from(name.windows(CELL_LIBRARY.len()).any(|part| part == CELL_LIBRARY));
        0
    }

    let mut count = Count::default();
    // SAFETY: `visit` has the type the loader calls, and `count` outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut count).cast()) };
    Some(if count.cells > 0 { count.cells } else { count.all })
}

#[cfg(target_os = "macos")]
fn loaded_libraries() -> Option<u64> {
    unsafe extern "C" {
        fn _dyld_image_count() -> u32;
    }
    // SAFETY: a function of the system loader without arguments; it only reads a counter.
    Some(u64::from(unsafe { _dyld_image_count() }))
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn loaded_libraries() -> Option<u64> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn the_number_stays_while_nothing_is_loaded() {
        let number = super::current();
        assert!(number.is_some_and(|n| n > 0));
        assert_eq!(number, super::current());
    }
}
