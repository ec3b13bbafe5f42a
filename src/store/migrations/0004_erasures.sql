-- Raw events before this day were dropped (`farebox retain`); the rollups keep their sums. One row, or none.
CREATE TABLE retired (
    one       INTEGER PRIMARY KEY CHECK (one = 1),
    before_us INTEGER NOT NULL
) STRICT;

-- Who was erased (`farebox erase`): a salted hash of each name, so that a backup made before can be put right when it is
-- restored. The salt is the row's own.
CREATE TABLE erasures (
    id     INTEGER PRIMARY KEY,
    at_us  INTEGER NOT NULL,
    kind   INTEGER NOT NULL,
    salt   BLOB    NOT NULL,
    digest BLOB    NOT NULL
) STRICT;
