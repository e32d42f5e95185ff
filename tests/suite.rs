//! Every integration test of the crate in one binary (one link); the folders mirror src/.

mod support;

mod model {
    mod parity;
}
mod tokens {
    mod parity;
    mod tokenizer;
}
