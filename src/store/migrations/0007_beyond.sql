-- What an account was charged beyond every lease: by callers whom the budget excepts, overruns, corrections. Without it
-- nobody could tell those from a limit that did not hold. What was settled before this column came is taken for such.
ALTER TABLE budget_accounts ADD COLUMN beyond TEXT NOT NULL DEFAULT '0';
UPDATE budget_accounts SET beyond = settled;
