//! Text generation: greedy or sampled, in batches, as a stream, under a plan of edits.
//!
//! Each new token is the most likely one, or drawn from `softmax(logits / temperature)` after a repetition penalty (Keskar
//! et al. 2019), a frequency penalty, top-k (Fan et al. 2018) and top-p (Holtzman et al. 2019), in this order. Greedy
//! generation gives the same tokens as Hugging Face's `generate(do_sample=False)`.
//!
//! A plan acts as if the whole text were run at once: position 7 of an edit is token 7 of the text, whichever step computes it.
//! Plans that act on all positions alike reuse the keys and values of earlier tokens; other plans rerun the whole text at each
//! step, which is slower.

mod options;
mod sampler;
mod stream;
mod text;

pub use options::{GenerateOptions, Sampling};
pub use stream::{GenerateStream, Step};
pub use text::Generated;
