//! Training of dictionaries and probes.
