-- Rules that no file has: budgets made over the API, and what virtual keys carry themselves.

-- `body`: a budget as the rules write it, a JSON object.
CREATE TABLE own_budgets (
    name       TEXT    PRIMARY KEY,
    body       TEXT    NOT NULL,
    created_us INTEGER NOT NULL,
    changed_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A JSON object: requests_per_minute, tokens_per_minute, concurrent, budget.
ALTER TABLE virtual_keys ADD COLUMN limits TEXT NOT NULL DEFAULT '{}';
CREATE INDEX virtual_keys_limited ON virtual_keys (id) WHERE limits <> '{}';
