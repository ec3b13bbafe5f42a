-- Work that goes on after its answer (background responses, batches): which event began it, by the provider's own name
-- for it, and the adjustment that booked what it used. Written in the transaction of the fold that it comes with.
CREATE TABLE deferred (
    provider_id INTEGER NOT NULL,
    reference   TEXT    NOT NULL,
    event       INTEGER NOT NULL,
    ended_by    INTEGER,
    PRIMARY KEY (provider_id, reference)
) STRICT, WITHOUT ROWID;
