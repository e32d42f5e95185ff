//! How the values of the other rooms show themselves: each as a table, or as the text that the field knows.

mod labelled;
mod model;
mod run;
mod tokens;
