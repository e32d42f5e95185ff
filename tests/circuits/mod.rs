mod by_hand;
mod evaluation;
mod files;
mod mistakes;
mod references;
mod scores;
mod selection;
mod shown;
