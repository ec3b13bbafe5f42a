-- How people log in. Passwords as argon2id hashes; sessions by the hashes of their texts under the pepper.
CREATE TABLE passwords (
    user       INTEGER PRIMARY KEY REFERENCES tenants (id),
    hash       TEXT    NOT NULL,
    changed_us INTEGER NOT NULL
) STRICT;

CREATE TABLE sessions (
    id           INTEGER PRIMARY KEY,
    user         INTEGER NOT NULL REFERENCES tenants (id),
    digest       BLOB    NOT NULL UNIQUE,
    opened_from  TEXT    NOT NULL,
    created_us   INTEGER NOT NULL,
    not_after_us INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_of ON sessions (user);
