//! Writing into a body without touching anything else.
