//! How much memory this process may still take, as the system reports it.
//!
//! Linux: what `/proc/meminfo` calls available, or what the process' control group (versions 1 and 2, with the groups
//! around it) still allows, whichever is less; the file cache, which the system gives up when memory is needed, counts as free.
//! Other systems report it only through libraries that this crate does not use, so there is no default budget there.

/// Bytes that are free now; `None` where this system does not say.
pub(super) fn free_memory() -> Option<u64> {
    if cfg!(target_os = "linux") { by_files(&|path| std::fs::read_to_string(path).ok()) } else { None }
}

/// As [`free_memory`], from the system's files as `read` gives them.
fn by_files(read: &dyn Fn(&str) -> Option<String>) -> Option<u64> {
    let available = entry(&read("/proc/meminfo")?, "MemAvailable:")?.checked_mul(1024)?;
    let groups = read("/proc/self/cgroup").unwrap_or_default();
    let allowed = groups.lines().flat_map(|line| match line.splitn(3, ':').collect::<Vec<_>>()[..] {
        [_, "", path] => group(read, "/sys/fs/cgroup", path, &VERSION_2),
        [_, kinds, path] if kinds.split(',').any(|kind| kind == "memory") => {
            group(read, "/sys/fs/cgroup/memory", path, &VERSION_1)
        }
        _ => Vec::new(),
    });
    allowed.chain([available]).min()
}

/// The files of a control group: limit, use, and within the statistics what of the use gives way.
struct Files {
    limit: &'static str,
    used: &'static str,
    reclaimable: &'static str,
}

const VERSION_1: Files =
    Files { limit: "memory.limit_in_bytes", used: "memory.usage_in_bytes", reclaimable: "total_inactive_file" };

const VERSION_2: Files = Files { limit: "memory.max", used: "memory.current", reclaimable: "inactive_file" };

/// What a group and each group around it still allow; a group without a limit says nothing.
fn group(read: &dyn Fn(&str) -> Option<String>, mount: &str, path: &str, files: &Files) -> Vec<u64> {
    let around = std::path::Path::new(path.trim_matches('/')).ancestors().map(|path| path.to_string_lossy());
    let allowed = around.filter_map(|path| {
        let folder = if path.is_empty() { mount.to_string() } else { format!("{mount}/{path}") };
        let number = |name: &str| read(&format!("{folder}/{name}"))?.trim().parse::<u64>().ok();
        let statistics = read(&format!("{folder}/memory.stat")).unwrap_or_default();
        let used = number(files.used)?.saturating_sub(entry(&statistics, files.reclaimable).unwrap_or(0));
        Some(number(files.limit)?.saturating_sub(used))
    });
    allowed.collect()
}

/// The number behind a name at the beginning of a line.
fn entry(text: &str, name: &str) -> Option<u64> {
    let mut words =
        text.lines().map(str::split_whitespace).find_map(|mut words| (words.next()? == name).then_some(words))?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:  16000 kB\nMemFree:  1000 kB\nMemAvailable:   8000 kB\n";

    fn free(files: &[(&str, &str)]) -> Option<u64> {
        by_files(&|path| files.iter().find(|(name, _)| *name == path).map(|(_, text)| text.to_string()))
    }

    #[test]
    fn what_is_available_is_free() {
        assert_eq!(free(&[("/proc/meminfo", MEMINFO)]), Some(8_192_000));
        assert_eq!(free(&[("/proc/meminfo", "MemTotal: 1 kB\n")]), None);
        assert_eq!(free(&[]), None);
    }

    #[test]
    fn the_tightest_group_decides() {
        let version_2 = [
            ("/proc/meminfo", MEMINFO),
            ("/proc/self/cgroup", "0::/user/notebook\n"),
            ("/sys/fs/cgroup/user/notebook/memory.max", "max\n"),
            ("/sys/fs/cgroup/user/notebook/memory.current", "5000\n"),
            ("/sys/fs/cgroup/user/memory.max", "1000000\n"),
            ("/sys/fs/cgroup/user/memory.current", "900000\n"),
            ("/sys/fs/cgroup/user/memory.stat", "anon 1\ninactive_file 250000\n"),
        ];
        assert_eq!(free(&version_2), Some(350_000));
        let version_1 = [
            ("/proc/meminfo", MEMINFO),
            ("/proc/self/cgroup", "12:cpu,cpuacct:/a\n4:memory:/a\n"),
            ("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "9223372036854771712\n"),
            ("/sys/fs/cgroup/memory/a/memory.usage_in_bytes", "10\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "3000\n"),
            ("/sys/fs/cgroup/memory/memory.usage_in_bytes", "2500\n"),
            ("/sys/fs/cgroup/memory/memory.stat", "total_inactive_file 100\n"),
        ];
        assert_eq!(free(&version_1), Some(600));
    }

    #[test]
    fn a_group_that_is_full_leaves_nothing() {
        let files = [
            ("/proc/meminfo", MEMINFO),
            ("/proc/self/cgroup", "0::/\n"),
            ("/sys/fs/cgroup/memory.max", "100"),
            ("/sys/fs/cgroup/memory.current", "200"),
        ];
        assert_eq!(free(&files), Some(0));
    }
}
