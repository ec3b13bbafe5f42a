-- Farebox's own keys for providers. A key's text is sealed under the master key, which is not in this file; a removed
-- key's is overwritten with nothing. `seen` is what its provider said of it last: valid, invalid, cooling.
CREATE TABLE provider_keys (
    id           INTEGER PRIMARY KEY REFERENCES names (id),
    provider     INTEGER NOT NULL REFERENCES names (id),
    sealed       BLOB    NOT NULL,
    master       BLOB    NOT NULL,
    weight       INTEGER NOT NULL,
    created_us   INTEGER NOT NULL,
    not_after_us INTEGER,
    disabled_us  INTEGER,
    deleted_us   INTEGER,
    seen         TEXT,
    seen_us      INTEGER
) STRICT;
