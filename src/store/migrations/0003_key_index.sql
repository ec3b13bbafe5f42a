-- "The last calls of this key" without reading everyone's: by key, newest last.
CREATE INDEX events_by_key ON events (key_id, id);
