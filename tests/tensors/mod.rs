mod close;
mod einsum;
mod words;
