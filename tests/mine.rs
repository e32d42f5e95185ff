#![allow(dead_code)]
mod circuits;
mod nb07;
mod progress;
mod rooms;
mod support;
mod tolerances;
mod words;
mod half {
    mod analyses;
}
mod real_models {
    mod checks;
    mod circuits;
}
