//! Reading JSON by places, without a tree.
