//! Scores a model on every task, as the model card does: `cargo run --release --example score_model [NAME OR FOLDER]`.

#[path = "train_tiny/tiny/mod.rs"]
mod tiny;

use candle_lens::Result;
use candle_lens::model::HookedTransformer;
use tiny::scorecard::scorecard;

fn main() -> Result<()> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "tiny".into());
    println!("{}", scorecard(&HookedTransformer::from_pretrained_no_processing(&name)?)?);
    Ok(())
}
