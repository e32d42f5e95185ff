//! The exercises about a dictionary on the model.

use super::{inputs, model_answers as answers};
use crate::course::answer::{Answer, IntoAnswer};
use crate::course::exercise::{About, Lend, exercise, lent};
use crate::course::judge::{Known, Rule, judge, prove};
use crate::course::verdict::Verdict;
use crate::dictionaries::Dictionary;
use crate::model::HookedTransformer;
use crate::tokens::Tokens;
use candle_core::Tensor;

lent!(Dictionary;);

exercise! {
    /// The tokens that a latent writes for.
    LatentLogits, "3.i", latent_logits(model: &HookedTransformer, dictionary: &Dictionary, latent: usize, k: usize) -> Vec<u32>;
    task: "What does a latent write? Send its direction straight through the unembedding, and take the tokens with the `k` largest logits, the largest first. (Later layers and the final norm are left out: it is a lens, not the whole effect.)

- `dictionary.w_dec()`: `[latent, d_model]`, stored in half precision: `.to_dtype(DType::F32)?` before the product; `model.W_U()`: `[d_model, d_vocab]`
- returns ids; `model.to_string([id])` reads them";
    axes: &[&["rank"]];
    inputs: inputs::to_logits => (HookedTransformer, Dictionary, usize, usize);
    hints: &[
        "The direction that a latent writes is its row of the decoder.",
        "Take the row, unsqueeze it to [1, d_model], matmul with W_U, squeeze, top_k(k), and its second part, the places.",
        "dictionary.w_dec().get(latent)?.to_dtype(DType::F32)?.unsqueeze(0)?.matmul(&model.W_U())?.squeeze(0)?.top_k(k)?.1.to_vec1();",
    ];
    wrong: [
        "this is the direction that the latent *reads*, its column of the encoder. What it writes is its row of the decoder." => answers::of_the_encoder,
        "these are the smallest logits." => answers::smallest,
        "the order is the other way round: the largest comes first." => answers::ascending,
        "this compares with the embeddings. The logits come from W_U." => answers::by_embedding,
    ];
    accepted: [];
}

exercise! {
    /// The logits without what one latent writes.
    WithoutLatent, "3.i2", without_latent(model: &HookedTransformer, dictionary: &Dictionary, tokens: &Tokens, latent: usize) -> Tensor;
    task: "What does the model need a latent for? Ablate it: at every position *after the BOS*, take from the residual stream after layer 1, `(\"resid_post\", 1)`, what the latent writes there, its activation times its direction, and leave all else as it is. The BOS is left alone because the dictionary was not trained on it.

- `dictionary.encode_dense(&stream)?`: `[batch, pos, latent]`
- returns the logits, `[batch, pos, d_vocab]`";
    axes: &[&["batch", "pos", "d_vocab"]];
    inputs: inputs::to_ablate => (HookedTransformer, Dictionary, Tokens, usize);
    hints: &[
        "Subtract one product from the stream; the reconstruction is not needed at all.",
        "Run and capture the stream; encode_dense, narrow to the latent; broadcast_mul with its row of w_dec; subtract; put it in at positions 1.. and return the logits.",
        r#"let written = acts.broadcast_mul(&dictionary.w_dec().get(latent)?.to_dtype(DType::F32)?)?; then Edit::replace((stream - written)?.narrow(1, 1, tokens.pos() - 1)?).pos(1..) at ("resid_post", 1);"#,
    ];
    wrong: [
        "the reconstruction without the latent is put in: the dictionary's error is lost with it. Subtract from the stream itself." => answers::without_the_error,
        "what the latent writes is added, not subtracted." => answers::added,
        "what the latent writes is all that is left of the stream. Take it away, and keep the rest." => answers::latent_alone,
        "the latent's direction is subtracted everywhere with the same size. Multiply it by the latent's activation at the position." => answers::whole_direction,
        "the latent is ablated at the last position alone. Ablate at every position after the BOS." => answers::last_alone,
        "the BOS is edited too. Leave it alone." => answers::bos_too,
    ];
    accepted: [];
}
