-- What imports and purges have changed, for those who keep answers. Numbers are never
-- used twice, also when rows are removed.
CREATE TABLE changelog (
	n    INTEGER PRIMARY KEY AUTOINCREMENT,
	tags TEXT NOT NULL                        -- a JSON list
) STRICT;
