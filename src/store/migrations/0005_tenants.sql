-- Tenants and virtual keys. Whatever has a name is a row of `names` (its id is the tenant's), so that erasing a person
-- stays an UPDATE of that one table. Nothing here is ever deleted: a name is never given out twice.

-- `kind` is that of the name: 1 organisation, 2 team, 3 project, 5 user.
CREATE TABLE tenants (
    id          INTEGER PRIMARY KEY REFERENCES names (id),
    kind        INTEGER NOT NULL,
    parent      INTEGER REFERENCES tenants (id),
    created_us  INTEGER NOT NULL,
    disabled_us INTEGER,
    deleted_us  INTEGER
) STRICT;
CREATE INDEX tenants_of ON tenants (parent);

-- `holder` is a project, a team or an organisation. `permissions` and `tags` are JSON objects.
CREATE TABLE virtual_keys (
    id           INTEGER PRIMARY KEY REFERENCES names (id),
    holder       INTEGER NOT NULL REFERENCES tenants (id),
    user         INTEGER REFERENCES tenants (id),
    permissions  TEXT    NOT NULL,
    tags         TEXT    NOT NULL,
    created_us   INTEGER NOT NULL,
    not_after_us INTEGER,
    disabled_us  INTEGER,
    deleted_us   INTEGER
) STRICT;
CREATE INDEX virtual_keys_of ON virtual_keys (holder);
CREATE INDEX virtual_keys_of_user ON virtual_keys (user) WHERE user IS NOT NULL;

-- The texts of a key, by their hashes under the pepper, which is not in this file. A rotation adds one.
CREATE TABLE key_secrets (
    digest       BLOB    PRIMARY KEY,
    key          INTEGER NOT NULL REFERENCES virtual_keys (id),
    prefix       TEXT    NOT NULL,
    created_us   INTEGER NOT NULL,
    not_after_us INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX key_secrets_of ON key_secrets (key);

-- Who changed what, in order, each row bound to the one before it by its hash. The greatest id is the generation by which
-- a running node sees that there is something to read. Names are ids; `detail` is JSON and holds nothing secret.
CREATE TABLE audit (
    id      INTEGER PRIMARY KEY,
    at_us   INTEGER NOT NULL,
    actor   TEXT    NOT NULL,
    action  TEXT    NOT NULL,
    subject INTEGER NOT NULL REFERENCES names (id),
    detail  TEXT    NOT NULL,
    hash    BLOB    NOT NULL
) STRICT;
