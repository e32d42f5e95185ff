mod by_hand;
mod edges;
mod gradients;
mod mistakes;
mod patched;
