//! Sparse dictionaries: sparse autoencoders, transcoders and cross-layer transcoders.
//!
//! A [`Dictionary`] reads the activation at one hook point and writes that point again (an autoencoder) or a later one (a
//! transcoder), as a sum of few of many directions: `f = act((s(x) - b_in) W_enc + b_enc)` are the features that are active, and
//! `y = f W_dec + b_dec (+ x W_skip)` is what they write. Whatever format a dictionary was stored in, it has this one form
//! here; what it expects of the model it was trained on ([`Expects`]) stays with it.
//!
//! References: Cunningham et al. 2023 (arXiv 2309.08600), Bricken et al. 2023; gated: Rajamanoharan et al. 2024 (2404.16014);
//! JumpReLU: Rajamanoharan et al. 2024 (2407.14435); top-k: Gao et al. 2024 (2406.04093); batch top-k: Bussmann et al. 2024
//! (2412.06410); transcoders: Dunefsky et al. 2024 (2406.11944); cross-layer transcoders: Ameisen et al. 2025.

mod acts;
mod acts_read;
mod architecture;
mod check;
mod decode;
mod dictionary;
mod encode;
mod expects;
mod fit;
mod gather;
mod input;
mod load;
mod parts;
mod pursuit;
mod rows;
mod save;
mod save_set;
mod select;
mod set;
mod several;
mod splice;

pub use acts::FeatureActs;
pub use acts_read::FeatureAct;
pub use architecture::Architecture;
pub use dictionary::Dictionary;
pub use expects::{Card, Expects};
pub use input::InputNorm;
pub use load::{DictionaryFormat, DictionaryOptions};
pub use parts::{Activation, DictionaryParts};
pub use set::DictionarySet;
pub use several::Dictionaries;
pub(crate) use several::Given;
pub use splice::{AtBos, ErrorTerm, SpliceOptions};
