//! Every integration test of the crate in one binary (one link); the folders mirror src/.

mod circuits;
mod factored_matrix;
mod generate;
mod gpt2;
mod hooks;
mod manifest;
mod prelude;
mod rooms;
mod support;

mod bad_input {
    mod files;
    mod runs;
}
mod analysis {
    mod heads;
    mod score;
    mod toolbox;
}
mod cache {
    mod identities;
    mod io;
    mod parity;
}
mod gradients {
    mod attribution;
    mod frozen;
    mod integrated;
    mod run;
}
mod patching {
    mod experiments;
    mod parity;
    mod sweeps;
}
mod model {
    mod architectures;
    mod checkpoints;
    mod families;
    mod families_candle;
    mod folders;
    mod fuzz;
    mod gradients;
    mod hub;
    mod hub_server;
    mod parity;
    mod processing;
    mod saved;
}
mod tasks {
    mod answerable;
    mod datasets;
    mod generators;
    mod model_card;
    mod reading;
    mod tiny_tokenizer;
}
mod tokens {
    mod parity;
    mod pieces;
    mod special;
    mod tokenizer;
}

mod views {
    mod attention;
    mod browser;
    mod everything;
    mod figure;
    mod kinds;
    mod of_numbers;
    mod of_results;
    mod page;
    mod picture;
    mod safety;
    mod table;
    mod text;
}
