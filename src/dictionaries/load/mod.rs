//! Dictionaries in files, whatever their format.
