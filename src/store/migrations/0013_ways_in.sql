-- Further ways in. Of an invitation its text's hash under the pepper; of a second factor a salt,
-- from which and the pepper its secret is derived.
CREATE TABLE invitations (
    user         INTEGER PRIMARY KEY REFERENCES tenants (id),
    digest       BLOB    NOT NULL UNIQUE,
    created_us   INTEGER NOT NULL,
    not_after_us INTEGER NOT NULL
) STRICT;

-- `confirmed_us`: since when it is asked for. `used_step`: the time step of the last code that was used.
CREATE TABLE second_factors (
    user         INTEGER PRIMARY KEY REFERENCES tenants (id),
    salt         BLOB    NOT NULL,
    created_us   INTEGER NOT NULL,
    confirmed_us INTEGER,
    used_step    INTEGER NOT NULL
) STRICT;
