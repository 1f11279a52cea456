-- What has changed, for those who keep answers. Numbers are never used twice, also when
-- rows are removed.
CREATE TABLE changelog (
	n      INTEGER PRIMARY KEY AUTOINCREMENT,
	before INTEGER NOT NULL,                  -- how many tags there ever were in earlier rows
	tags   TEXT NOT NULL                      -- a JSON list
) STRICT;
