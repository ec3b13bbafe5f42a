-- Budgets. An account is one budget for one scope in one window (of a rolling one: in one bucket). Amounts are in the
-- budget's unit (pico-dollars, tokens, requests), as decimal text: sums of years of pico-dollars do not fit 64 bits.

-- What an event takes from accounts: 16 bytes each, account and amount, little endian.
ALTER TABLE events ADD COLUMN charges BLOB;

-- The journal of this epoch was fenced: records of it may be missing.
ALTER TABLE epochs ADD COLUMN fenced_us INTEGER;

-- `id` is a hash of name, unit, scope and start; `series` the same without the start.
CREATE TABLE budget_accounts (
    id           INTEGER PRIMARY KEY,
    series       INTEGER NOT NULL,
    budget       TEXT    NOT NULL,
    scope        TEXT    NOT NULL,
    unit         TEXT    NOT NULL,
    window_start INTEGER NOT NULL,
    window_end   INTEGER NOT NULL,
    counts_from  INTEGER NOT NULL,
    hardness     TEXT    NOT NULL,
    limit_units  TEXT    NOT NULL,
    -- The greatest limit under which a slice was granted.
    limit_max    TEXT    NOT NULL,
    -- Basis points, ascending, between commas.
    thresholds   TEXT    NOT NULL,
    settled      TEXT    NOT NULL
) STRICT;

CREATE INDEX budget_accounts_by_series ON budget_accounts (series, window_start);
CREATE INDEX budget_accounts_by_budget ON budget_accounts (budget, window_end);

-- What a process may still spend, and what the store has of it. A row lives as long as the process has the account open.
CREATE TABLE budget_leases (
    account   INTEGER NOT NULL,
    epoch     INTEGER NOT NULL,
    remaining TEXT    NOT NULL,
    charged   TEXT    NOT NULL,
    PRIMARY KEY (account, epoch)
) STRICT, WITHOUT ROWID;

CREATE INDEX budget_leases_by_epoch ON budget_leases (epoch);

-- Slices of processes that ended without proof of what they spent: charged whole.
CREATE TABLE budget_losses (
    account INTEGER NOT NULL,
    epoch   INTEGER NOT NULL,
    amount  TEXT    NOT NULL,
    at_us   INTEGER NOT NULL,
    PRIMARY KEY (account, epoch)
) STRICT, WITHOUT ROWID;

-- A threshold is told once per account.
CREATE TABLE budget_alerts (
    account         INTEGER NOT NULL,
    threshold       INTEGER NOT NULL,
    at_us           INTEGER NOT NULL,
    spent           TEXT    NOT NULL,
    limit_units     TEXT    NOT NULL,
    acknowledged_us INTEGER,
    acknowledged_by TEXT,
    PRIMARY KEY (account, threshold)
) STRICT;

CREATE INDEX budget_alerts_by_time ON budget_alerts (at_us);

-- What events charged that were dropped past their age (`farebox retain`).
CREATE TABLE budget_retired (
    account INTEGER PRIMARY KEY,
    amount  TEXT NOT NULL
) STRICT;
