//! Every integration test of the crate in one binary (one link); the folders mirror src/.

mod circuits;
mod course;
mod dictionaries;
mod examples;
mod factored_matrix;
mod feature_graphs;
mod features;
mod generate;
mod gpt2;
mod hooks;
mod host;
mod interrupt;
mod manifest;
mod metrics;
mod prelude;
mod progress;
mod rooms;
mod shards;
mod statistics;
mod steering;
mod support;
mod tensors;
mod tolerances;
mod words;

// What examples are made of.
#[path = "../examples/train_course/claims/mod.rs"]
mod claims;
#[path = "../examples/make_datasets/files.rs"]
mod data_files;
#[path = "../examples/train_tiny/tiny/mod.rs"]
mod tiny;

mod bad_input {
    mod files;
    mod growth;
    mod runs;
    mod sizes;
    mod sizes_in_files;
}
mod analysis {
    mod heads;
    mod score;
    mod sinks;
    mod sums;
    mod targets;
    mod toolbox;
}
mod cache {
    mod identities;
    mod io;
    mod made_by;
    mod parity;
}
mod half {
    mod analyses;
    mod runs;
    mod splices;
}
mod gradients {
    mod atp_star;
    mod attribution;
    mod frozen;
    mod integrated;
    pub mod quality;
    mod rules;
    mod run;
}
mod lenses {
    mod jacobian;
    mod jacobian_edits;
    mod jacobian_progress;
    mod memory;
    mod progress;
    mod reading;
    mod tuned;
}
mod variables {
    mod cell;
    mod sizes;
}
mod interchange {
    mod identities;
    mod progress;
    mod references;
    mod studies;
    mod subspaces;
}
mod patching {
    mod experiments;
    mod metrics;
    mod parity;
    mod paths;
    mod spliced;
    mod sweeps;
    mod together;
}
mod real_models {
    mod chained;
    mod checks;
    mod circuits;
    mod features;
    mod gemma3;
    mod heads;
    mod lenses;
    mod name;
    mod patching;
    mod probes;
    mod quality;
    mod smollm2;
    mod whole_lens;
}
mod model {
    mod alibi;
    mod architectures;
    mod checkpoints;
    mod config_keys;
    mod families;
    mod families_candle;
    mod folders;
    mod fuzz;
    mod gguf;
    mod gguf_positions;
    mod gradients;
    mod odd_folders;
    mod parity;
    mod processing;
    pub mod random_architectures;
    mod rotary;
    mod saved;
    mod state_dict;
    mod tokenizers;
    mod tree;
}
mod probes {
    mod probe;
    mod progress;
    mod references;
    mod splits;
    mod studies;
}
mod storage {
    mod arrays;
    mod gguf;
    #[cfg(feature = "hf-hub")]
    mod hf_hub_alone;
    pub mod hub;
    mod hub_gguf;
    pub mod hub_server;
    mod hub_transfer;
}
mod tasks {
    mod answerable;
    mod datasets;
    mod fuzz;
    mod generators;
    mod model_card;
    mod reading;
    mod tiny_tokenizer;
}
mod tokens {
    mod fuzz;
    mod gguf;
    mod gguf_bad;
    mod parity;
    mod pieces;
    mod special;
    mod tokenizer;
}

mod train {
    mod checkpoint;
    mod dictionary;
    mod optimiser;
    mod store;
}
mod views {
    mod attention;
    mod browser;
    mod committed;
    mod envelope;
    mod everything;
    mod feature_graph;
    mod features;
    mod figure;
    mod gaps;
    mod intervals;
    mod kinds;
    mod lens;
    mod names;
    mod of_numbers;
    mod of_results;
    mod page;
    mod picture;
    mod safety;
    mod size;
    mod table;
    mod text;
}
