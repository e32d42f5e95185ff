//! Text generation: greedy or sampled, in batches, as a stream, under a plan of edits.
//!
//! Each new token is the most likely one, or drawn from `softmax(logits / temperature)` after a repetition penalty (Keskar
//! et al. 2019), a frequency penalty, top-k (Fan et al. 2018) and top-p (Holtzman et al. 2019), in this order. Greedy
//! generation gives the same tokens as Hugging Face's `generate(do_sample=False)`.
//!
//! A plan acts as if the whole text were run at once: position 7 of an edit is token 7 of the text, whichever step computes it.
//! Plans whose edits do the same whichever positions are run together (one number, one vector, a head zeroed, at all positions or
//! at some) reuse the keys and values of earlier tokens; values with a position axis and functions of your own rerun the whole text
//! at each step, which is slower.

mod options;
mod sampler;
mod stream;
mod text;

pub use options::{GenerateOptions, Sampling};
pub use stream::{GenerateStream, Step};
pub use text::Generated;
