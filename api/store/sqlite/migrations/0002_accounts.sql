-- Who may use the API. Times are microseconds since 1970, 0 where there is none.
CREATE TABLE user (
	id               TEXT    NOT NULL PRIMARY KEY,
	name             TEXT    NOT NULL,
	fold             TEXT    NOT NULL UNIQUE, -- the name, folded
	role             TEXT    NOT NULL,
	password         TEXT    NOT NULL,        -- a PHC string
	disabled         INTEGER NOT NULL DEFAULT 0,
	epoch            INTEGER NOT NULL DEFAULT 0,
	created          INTEGER NOT NULL,
	password_changed INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row for each login: its refresh tokens follow one another in digest.
CREATE TABLE session (
	id      TEXT    NOT NULL PRIMARY KEY,
	user    TEXT    NOT NULL,
	epoch   INTEGER NOT NULL,
	digest  BLOB    NOT NULL,
	created INTEGER NOT NULL,
	expires INTEGER NOT NULL,
	ends    INTEGER NOT NULL,
	revoked INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX session_expires ON session (expires);

CREATE TABLE api_key (
	id        TEXT    NOT NULL PRIMARY KEY,
	name      TEXT    NOT NULL,
	digest    BLOB    NOT NULL,
	role      TEXT    NOT NULL,
	scopes    TEXT,                           -- a JSON list; NULL: not narrowed
	owner     TEXT    NOT NULL,
	created   INTEGER NOT NULL,
	expires   INTEGER NOT NULL,
	revoked   INTEGER NOT NULL DEFAULT 0,
	last_used INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE signing_key (
	number     INTEGER NOT NULL PRIMARY KEY,
	id         TEXT    NOT NULL,
	public     BLOB    NOT NULL,
	sealed     BLOB    NOT NULL,
	created    INTEGER NOT NULL,
	not_before INTEGER NOT NULL
) STRICT;
