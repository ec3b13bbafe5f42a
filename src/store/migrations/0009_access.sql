-- Who may do what on the admin port. Nothing of a text that opens something is here: hashes only.

-- `scope` is the tenant on which a role is granted, 0 the whole installation. `role`: 0 viewer, 1 manager, 2 admin, 3 owner.
CREATE TABLE members (
    user       INTEGER NOT NULL REFERENCES tenants (id),
    scope      INTEGER NOT NULL,
    role       INTEGER NOT NULL,
    granted_us INTEGER NOT NULL,
    PRIMARY KEY (user, scope)
) STRICT, WITHOUT ROWID;
CREATE INDEX members_of ON members (scope);

-- Users that are programs. They have tokens, and never a password.
CREATE TABLE programs (user INTEGER PRIMARY KEY REFERENCES tenants (id)) STRICT;

-- Personal tokens, by their hashes under the pepper. `label` says what it is for.
CREATE TABLE api_tokens (
    id           INTEGER PRIMARY KEY,
    user         INTEGER NOT NULL REFERENCES tenants (id),
    label        TEXT    NOT NULL,
    prefix       TEXT    NOT NULL,
    digest       BLOB    NOT NULL UNIQUE,
    created_us   INTEGER NOT NULL,
    not_after_us INTEGER,
    revoked_us   INTEGER
) STRICT;
CREATE INDEX api_tokens_of ON api_tokens (user);

-- Writes that were sent with an Idempotency-Key: what was asked (its hash) and what was answered, without secrets.
CREATE TABLE replays (
    who     TEXT    NOT NULL,
    key     TEXT    NOT NULL,
    asked   BLOB    NOT NULL,
    status  INTEGER NOT NULL,
    answer  TEXT    NOT NULL,
    at_us   INTEGER NOT NULL,
    PRIMARY KEY (who, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX replays_by_age ON replays (at_us);
