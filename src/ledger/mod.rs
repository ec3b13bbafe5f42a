//! Journal, admission, folding, recovery, verification.
