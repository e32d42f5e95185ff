//! How much memory loading takes (Linux): the peak of the process beside the weights that come out.
//!
//! `cargo run --release --example load_memory -- make FOLDER [f32|bf16|f16]` writes a model of GPT-2 small's size with
//! random weights;
//! `.. -- load NAME [f32|bf16|f16] [raw]` loads a model, in a process of its own.

use candle_lens::candle::{DType, Device};
use candle_lens::error::human_bytes;
use candle_lens::model::{HookedTransformer, HookedTransformerConfig, LoadOptions, Processing};

fn main() -> candle_lens::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["make", folder, ref rest @ ..] => {
            let (model, _) = HookedTransformer::trainable(HookedTransformerConfig::default(), 0, &Device::Cpu)?;
            model.save_pretrained(folder)?;
            let half = LoadOptions { dtype: dtype(rest), processing: Some(Processing::NONE), ..Default::default() };
            HookedTransformer::from_pretrained_with(folder, half)?.save_pretrained(folder)
        }
        ["load", name, ref rest @ ..] => {
            let dtype = dtype(rest);
            let processing = rest.contains(&"raw").then_some(Processing::NONE);
            let before = peak();
            let model =
                HookedTransformer::from_pretrained_with(name, LoadOptions { dtype, processing, ..Default::default() })?;
            let peak = peak() - before;
            let cfg = model.cfg();
            let positions = if cfg.rotary_dim() == 0 { cfg.n_ctx } else { 0 };
            let outside = (cfg.d_vocab + positions + cfg.d_vocab_out()) * cfg.d_model;
            let weights = ((cfg.n_params() + outside) * dtype.size_in_bytes()) as u64;
            println!(
                "{model:?} as {dtype:?}: peak {}, weights {}, {:.2} times",
                human_bytes(peak),
                human_bytes(weights),
                peak as f64 / weights as f64
            );
            Ok(())
        }
        _ => {
            Err(candle_lens::Error::argument("give `make FOLDER [f32|bf16|f16]` or `load NAME [f32|bf16|f16] [raw]`."))
        }
    }
}

/// The type of weights that the first word names, f32 without one.
fn dtype(words: &[&str]) -> DType {
    match words.first() {
        Some(&"bf16") => DType::BF16,
        Some(&"f16") => DType::F16,
        _ => DType::F32,
    }
}

/// The most memory that this process has had, in bytes; 0 where the system does not say.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}
