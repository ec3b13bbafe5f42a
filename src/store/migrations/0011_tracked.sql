-- Usage that was told from outside the proxy, by the hash of its organisation and its sender's id: told again, it is
-- not booked again for as long as its event is kept.
CREATE TABLE tracked (
    name  BLOB    PRIMARY KEY,
    event INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
