//! Upper bounds of a request's tokens from its bytes alone.
