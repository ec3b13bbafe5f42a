-- Who somebody at an identity provider is here: the hash of issuer and subject under the pepper.
CREATE TABLE identities (
    digest     BLOB    PRIMARY KEY,
    user       INTEGER NOT NULL REFERENCES tenants (id),
    created_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX identities_of ON identities (user);

-- By which identity's group a role was given; NULL: by somebody.
ALTER TABLE members ADD COLUMN identity BLOB;
