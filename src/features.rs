//! What a dictionary is worth, and what its features mean.
