//! Text from the model: greedy or sampled, a batch at a time, as a stream, under a plan of edits.
//!
//! Each new token is the most likely one or drawn from `softmax(logits / temperature)` after repetition penalty (Keskar
//! et al. 2019), frequency penalty, top-k (Fan et al. 2018) and top-p (Holtzman et al. 2019) have cut it, in this order.
//! Greedy generation gives the tokens that Hugging Face's `generate(do_sample=False)` gives.
//!
//! A plan acts as if the whole text had been run at once: position 7 of an edit is token 7 of the text, whichever step
//! computes it. Plans that do the same everywhere run on from keys and values of the tokens before; others run the whole
//! text at each step, which is slower.

mod options;
mod sampler;
mod stream;
mod text;

pub use options::{GenerateOptions, Sampling};
pub use stream::{GenerateStream, Step};
pub use text::Generated;
