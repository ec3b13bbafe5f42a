//! The catalog as people write it (`config/catalog.yaml`).
