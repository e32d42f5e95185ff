//! What dividing a sweep costs: the processor time of the same work in 1, 2, 4 and 8 processes.

use std::path::Path;
use std::process::Command;

use candle_lens::shards::gather;
use candle_lens::{Error, Result};

/// Prints the processor time (user and system) of each division, and checks that the results are the same. Processes run one after
/// the other on one thread each, so that what is measured is work and not waiting.
pub fn measure(count: usize, of_edges: bool) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("candle-lens-growth-{}", std::process::id()));
    let mut whole = None;
    // Loading the model and making the prompts, with nothing to compute: the shards of one prompt, but one.
    let nothing = (1..=8)
        .map(|number| run(&folder.join("nothing"), &format!("{number}/8"), 1, of_edges))
        .collect::<Result<Vec<_>>>()?;
    let least = nothing.into_iter().fold(f64::INFINITY, f64::min);
    println!("a process without prompts takes {least:.2} s");
    for shards in [1, 2, 4, 8] {
        let out = folder.join(shards.to_string());
        let mut all = 0.;
        for number in 1..=shards {
            all += run(&out, &format!("{number}/{shards}"), count, of_edges)?;
        }
        let one = *whole.get_or_insert(all);
        let (more, each) = (100. * (all / one - 1.), (all - one) / f64::from(shards));
        println!(
            "{shards} shards of {count} prompts: {all:.2} s of processor time, {more:+.1} %, {each:+.2} s a shard"
        );
        if gather(&out)? != gather(folder.join("1"))? {
            return Err(Error::argument(format!("the result of {shards} shards is not that of one run: it must be.")));
        }
    }
    let _ = std::fs::remove_dir_all(folder);
    Ok(())
}

/// Computes a shard in a process, and returns the processor time that it took.
fn run(out: &Path, shard: &str, count: usize, of_edges: bool) -> Result<f64> {
    let failed =
        |why: String| Error::argument(format!("the process of shard {shard} {why}: run it by itself to see why."));
    let program = std::env::current_exe().map_err(|error| failed(format!("has no program ({error})")))?;
    let before = children();
    let status = Command::new(program)
        .arg(count.to_string())
        .args(of_edges.then_some("edges"))
        .env("CANDLE_LENS_SHARD", shard)
        .env("CANDLE_LENS_OUT", out)
        .env("CANDLE_LENS_PROGRESS", "off")
        .env("RAYON_NUM_THREADS", "1")
        .stdout(std::process::Stdio::null())
        .status()
        .map_err(|error| failed(format!("did not start ({error})")))?;
    match status.success() {
        true => Ok(children() - before),
        false => Err(failed(format!("ended with {status}"))),
    }
}

/// The processor time of all children that have ended, in seconds.
fn children() -> f64 {
    // SAFETY: `getrusage` fills in the struct that it is given, for which zeros are a value.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}
