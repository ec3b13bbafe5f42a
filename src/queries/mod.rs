//! What the API and the command line ask of the ledger.
