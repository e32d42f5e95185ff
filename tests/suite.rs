//! Every integration test of the crate in one binary (one link); the folders mirror src/.

mod hooks;
mod support;

mod cache {
    mod parity;
}
mod model {
    mod architectures;
    mod gradients;
    mod parity;
}
mod tokens {
    mod parity;
    mod tokenizer;
}

mod views {
    mod figure;
    mod picture;
    mod safety;
    mod table;
    mod of_results;
}
