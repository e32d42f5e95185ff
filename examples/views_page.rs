//! Writes one page with every view, for the browser tests: `cargo run --example views_page -- views.html`.

use candle_lens::prelude::*;

fn main() -> candle_lens::Result<()> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "views.html".into());
    let model = HookedTransformer::from_pretrained("tiny")?;
    let prompt = "When John and Mary went to the shops, John gave the bag to";
    let other = "When John and Mary went to the shops, Mary gave the bag to";
    let (_, cache) = model.run_with_cache(prompt)?;
    let (_, corrupted) = model.run_with_cache(other)?;
    let tokens = model.to_str_tokens(prompt)?;
    attention(&model, &tokens, &cache, &corrupted)?.save_html(path)
}

/// The widgets of attention.
fn attention(
    model: &HookedTransformer,
    tokens: &[String],
    cache: &ActivationCache,
    corrupted: &ActivationCache,
) -> candle_lens::Result<Page> {
    let heads = cache.get(("pattern", 2))?.get(0)?;
    let apart = (corrupted.get(("pattern", 2))?.get(0)? - &heads)?;
    let hostile =
        ["</script><img src=x onerror=alert(1)>", "\"'`", "a\nb", "\u{2028}\u{200f}\u{202e}abc", "猫 and 犬", ""];
    let uniform: Vec<Vec<f64>> =
        (1..=6).map(|i| (0..6).map(|j| if j < i { 1.0 / i as f64 } else { 0.0 }).collect()).collect();
    Page::new()
        .with(&attention_heads(model, (cache, 2)))?
        .with(&attention_heads(tokens, &apart).title("Signed: corrupted minus clean"))?
        .with(&attention_patterns(model, (cache, 1)))?
        .with(&attention_pattern(tokens, heads.get(5)?).title("One head"))?
        .with(&attention_pattern(hostile, uniform).title("</script><b>Hostile</b> tokens"))?
        .with(&attention_comparison(model, cache, corrupted).title("All heads, clean and corrupted"))
}
