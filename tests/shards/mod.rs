//! Shards: which rows they have, and joined results that are those of one run to the last bit.

mod identities;
mod mistakes;
mod processes;
mod progress;
