-- The outbox of alerts. Whoever is to be told of an alert has a row here from the moment on at which it was looked at;
-- it is told again and again until he has taken it, or nobody believes any more that he will.
ALTER TABLE budget_alerts ADD COLUMN queued_us INTEGER;
-- What was told before there was an outbox is not sent now.
UPDATE budget_alerts SET queued_us = at_us;
CREATE INDEX budget_alerts_unqueued ON budget_alerts (account) WHERE queued_us IS NULL;

CREATE TABLE alert_deliveries (
    account      INTEGER NOT NULL,
    threshold    INTEGER NOT NULL,
    receiver     TEXT    NOT NULL,
    attempts     INTEGER NOT NULL DEFAULT 0,
    -- When it is tried next; NULL: delivered, or given up.
    next_us      INTEGER,
    delivered_us INTEGER,
    error        TEXT,
    PRIMARY KEY (account, threshold, receiver)
) STRICT;

CREATE INDEX alert_deliveries_due ON alert_deliveries (next_us) WHERE next_us IS NOT NULL;
