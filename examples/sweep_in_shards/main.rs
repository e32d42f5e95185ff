//! A sweep over the heads of `tiny` by the prompts of one shard, or scores of its edges: a unit of work for `cargo lab submit` and
//! for Slurm, and what dividing it costs.
//!
//! - `CANDLE_LENS_SHARD=3/16 CANDLE_LENS_OUT=results cargo run --release --example sweep_in_shards [PROMPTS] [edges]` computes a
//!   shard (without the variables, the whole) of so many prompts of the IOI task, 512 by default;
//! - `.. gather FOLDER [OTHER]` joins the parts of a sweep, and compares them with other parts to the last bit;
//! - `.. growth [PROMPTS] [edges]` computes it in 1, 2, 4 and 8 processes, one after the other, and prints the processor time of each
//!   (Linux).
//!
//! `cargo lab submit --shards 16 -- target/release/examples/sweep_in_shards` computes all shards.

#[cfg(target_os = "linux")]
mod growth;

use candle_lens::prelude::*;
use candle_lens::{Error, Result};

/// How many prompts there are by default.
const PROMPTS: usize = 512;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [] => compute(PROMPTS, false),
        ["gather", folder] => show(folder),
        ["gather", folder, other] => compare(folder, other),
        #[cfg(target_os = "linux")]
        ["growth"] => growth::measure(PROMPTS, false),
        #[cfg(target_os = "linux")]
        ["growth", count] => growth::measure(number(count)?, false),
        #[cfg(target_os = "linux")]
        ["growth", count, "edges"] => growth::measure(number(count)?, true),
        [count] => compute(number(count)?, false),
        [count, "edges"] => compute(number(count)?, true),
        _ => Err(Error::argument("write nothing, a number of prompts, `gather FOLDER [OTHER]` or `growth [PROMPTS]`.")),
    }
}

fn number(text: &str) -> Result<usize> {
    text.parse().map_err(|_| Error::argument(format!("{text:?} is not a number of prompts: write e.g. 512.")))
}

/// The shard that the environment names, into the folder that it names.
fn compute(count: usize, of_edges: bool) -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let prompts = Task::Ioi.prompts(tasks::Split::Train, count, 0)?.aligned(&model)?;
    let part = prompts.shard(Shard::from_env()?).save_to(results_folder());
    let found = match of_edges {
        false => part.each_prompt(&model, |batch| batch.experiment(&model)?.get_act_patch_attn_head_out_all_pos())?,
        true => part.each_prompt(&model, |batch| {
            batch.experiment(&model)?.edges()?.attribute_each(EdgeMethod::EapIgInputs { steps: 5 })
        })?,
    };
    println!("{found:?}");
    Ok(())
}

fn show(folder: &str) -> Result<()> {
    let all = gather(folder)?;
    println!("{all:?}");
    for (head, change) in all.sweep()?.statistics(StatisticsOptions::default())?.estimate.top_heads(5)? {
        println!("{head} {change:.3}");
    }
    Ok(())
}

fn compare(folder: &str, other: &str) -> Result<()> {
    show(folder)?;
    match gather(folder)? == gather(other)? {
        true => println!("the parts in {folder} and in {other} are the same to the last bit"),
        false => return Err(Error::argument(format!("the parts in {folder} and in {other} differ: they must not."))),
    }
    Ok(())
}
