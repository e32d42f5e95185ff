//! What the first look says of each model: the lesson's steps, with the paragraph of its cell.

use candle_lens::course::sections;
use candle_lens::prelude::*;

use crate::support::given;

/// A pattern recomputed from queries and keys, in f32.
const RECOMPUTED: f64 = 1e-4;
/// Losses as the lesson quotes them.
const AS_QUOTED: f32 = 6e-5;

/// The two paragraphs of the lesson, the embedded model's and that of others, as its cell has them.
fn paragraphs() -> [String; 2] {
    let lesson = sections().into_iter().find(|section| section.file == "c00_first_look").expect("the lesson");
    let cell = lesson.parts.iter().find_map(|part| match part {
        candle_lens::course::Part::Code(cell) if cell.contains("## Loading Models") => Some(*cell),
        _ => None,
    });
    let texts = cell.expect("the cell of the paragraph").split(" => \"").skip(1);
    let texts: Vec<String> =
        texts.map(|text| text.split("\",\n").next().expect("a text").replace("\\n", "\n")).collect();
    texts.try_into().expect("two paragraphs")
}

/// A token and its place.
type Guessed = (usize, String);

/// The loss on a text, the tokens that were guessed right with their places, and of how many.
fn read(model: &HookedTransformer, text: &str) -> Result<(f32, Vec<Guessed>, usize)> {
    let tokens = model.to_tokens(text)?;
    let guesses = model.forward(&tokens)?.i(0)?.argmax(1)?.to_vec1::<u32>()?;
    let ids = tokens.row(0);
    let right = (1..ids.len()).filter(|&pos| guesses[pos - 1] == ids[pos]);
    let right = right.map(|pos| Ok((pos, model.to_string([ids[pos]])?))).collect::<Result<Vec<_>>>()?;
    Ok((model.loss(&tokens)?.item()?, right, ids.len() - 1))
}

#[test]
fn the_embedded_model_reads_its_paragraph() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let (loss, right, of) = read(&model, &paragraphs()[0])?;
    // Both names where they are repeated, neither where it is new.
    let names = right.iter().map(|(pos, word)| (*pos, word.as_str()));
    let names = names.filter(|(_, word)| [" John", " Mary"].contains(word));
    assert_eq!((names.collect::<Vec<_>>(), of), (vec![(10, " John"), (15, " Mary")], 16), "{right:?}");
    assert!(loss < 5.0, "{loss}");
    Ok(())
}

/// Layer 0's pattern from queries and keys, as the lesson's cell computes it.
fn pattern(model: &HookedTransformer, sentence: &str) -> Result<()> {
    let cfg = model.cfg();
    let (_, cache) = model.run_with_cache(sentence)?;
    let (queries, keys) = if cfg.rotary_dim() > 0 { ("rot_q", "rot_k") } else { ("q", "k") };
    let (q, k) = (cache.get((queries, 0))?, cache.get((keys, 0))?);
    let (batch, pos, n_keys, d_head) = k.dims4()?;
    let shape = (batch, pos, n_keys, cfg.n_heads / n_keys, d_head);
    let k = k.unsqueeze(3)?.broadcast_as(shape)?.reshape((batch, pos, cfg.n_heads, d_head))?;
    let scores = (einsum("b q h d, b k h d -> b h q k", &[&q, &k])? / (d_head as f64).sqrt())?;
    let future = Tensor::tril2(pos, DType::U8, scores.device())?.eq(0u8)?;
    let pattern = softmax(&scores.masked_fill(&future, f32::NEG_INFINITY)?)?;
    assert_close(&pattern, &cache.get(("pattern", 0))?, RECOMPUTED)
}

#[test]
fn attention_is_recomputed() -> Result<()> {
    pattern(
        &HookedTransformer::from_pretrained("tiny")?,
        "When John and Mary went to the shops, John gave the bag to Mary.",
    )
}

/// With rotary embeddings and three heads for each key.
#[test]
#[ignore = "needs CANDLE_LENS_SMOLLM2: the file that `cargo lab fetch smollm2` fetches"]
fn smollm2_reads_the_paragraph_and_its_attention_is_recomputed() -> Result<()> {
    let model = HookedTransformer::from_pretrained(given("CANDLE_LENS_SMOLLM2").as_str())?;
    pattern(&model, "When John and Mary went to the shops, John gave the bag to Mary.")?;
    let (loss, right, of) = read(&model, &paragraphs()[1])?;
    assert_eq!((right.len(), of), (37, 111));
    assert!((loss - 3.9105).abs() < AS_QUOTED, "{loss}");
    Ok(())
}
