-- Objects, alive or not. A row whose gone is 'missing' stands for an object that
-- a relationship names and no bundle has brought yet.
--
-- Only what is compared in queries has a column; the rest is in doc (codec.go).
-- Times are microseconds since 1970, 0 where unknown.
CREATE TABLE object (
	pk           INTEGER PRIMARY KEY,
	id           TEXT    NOT NULL UNIQUE,
	kind         TEXT    NOT NULL,
	gone         TEXT    NOT NULL DEFAULT '',   -- '' is served; revoked, deprecated, missing
	type         TEXT    NOT NULL DEFAULT '',
	attack_id    TEXT    NOT NULL DEFAULT '',
	fold         TEXT    NOT NULL DEFAULT '',   -- the name, folded
	created      INTEGER NOT NULL DEFAULT 0,
	modified     INTEGER NOT NULL DEFAULT 0,
	first_seen   INTEGER NOT NULL DEFAULT 0,    -- of actors: derived, see import.go
	last_seen    INTEGER NOT NULL DEFAULT 0,
	own_first    INTEGER NOT NULL DEFAULT 0,    -- what the object itself says
	own_last     INTEGER NOT NULL DEFAULT 0,
	subtechnique INTEGER NOT NULL DEFAULT 0,
	value_type   TEXT    NOT NULL DEFAULT '',
	value        TEXT    NOT NULL DEFAULT '',
	valid_from   INTEGER NOT NULL DEFAULT 0,
	valid_until  INTEGER NOT NULL DEFAULT 9223372036854775807, -- that: no end
	retired      INTEGER NOT NULL DEFAULT 0,    -- ours alone: no import touches it
	pattern_key  INTEGER NOT NULL DEFAULT 0,    -- a hash of pattern and its type
	local        INTEGER NOT NULL DEFAULT 0,
	hash         INTEGER NOT NULL DEFAULT 0,    -- of the content: decides between equally new versions
	doc          TEXT    NOT NULL DEFAULT ''
) STRICT;

-- One index for each order; (kind, attack_id) is also the way from an ATT&CK id.
CREATE INDEX object_name     ON object (kind, fold, id)       WHERE gone = '';
CREATE INDEX object_attack   ON object (kind, attack_id, id)  WHERE gone = '';
CREATE INDEX object_modified ON object (kind, modified, id)   WHERE gone = '';
CREATE INDEX object_created  ON object (kind, created, id)    WHERE gone = '';
CREATE INDEX object_first    ON object (kind, first_seen, id) WHERE gone = '';
CREATE INDEX object_last     ON object (kind, last_seen, id)  WHERE gone = '';
-- And for the filters that are columns.
CREATE INDEX object_type     ON object (kind, type, fold, id) WHERE gone = '';
CREATE INDEX object_sub      ON object (kind, subtechnique, fold, id) WHERE gone = '';
CREATE INDEX object_value    ON object (value, fold, id)       WHERE gone = '' AND kind = 'indicator';
CREATE INDEX object_valtype  ON object (value_type, fold, id) WHERE gone = '' AND kind = 'indicator';
CREATE INDEX object_valid    ON object (retired, valid_until) WHERE gone = '' AND kind = 'indicator';
CREATE INDEX object_pattern  ON object (pattern_key)          WHERE gone = '' AND kind = 'indicator';

-- What an object has several of and is found by: aliases (the name too) and
-- platforms, folded; domains, phases, indicator types. Only of living objects.
CREATE TABLE label (
	field TEXT    NOT NULL,
	value TEXT    NOT NULL,
	obj   INTEGER NOT NULL,
	PRIMARY KEY (field, value, obj)
) STRICT, WITHOUT ROWID;
CREATE INDEX label_obj ON label (obj, field);

-- The words of the living objects (rowid is object.pk), folded before they come
-- here (to the tokenizer every byte beyond ASCII is part of a word). Nothing but
-- "which objects have a word that begins so" is asked.
CREATE VIRTUAL TABLE words USING fts5 (
	folded, content = '', contentless_delete = 1, detail = 'none',
	tokenize = 'ascii'
);

-- Relationships, alive or not, also those that wait for an end. Of several
-- living ones between the same ends one is shown.
CREATE TABLE edge (
	pk          INTEGER PRIMARY KEY,
	id          TEXT    NOT NULL UNIQUE,
	type        TEXT    NOT NULL,
	src         INTEGER NOT NULL REFERENCES object,
	dst         INTEGER NOT NULL REFERENCES object,
	gone        TEXT    NOT NULL DEFAULT '',
	shown       INTEGER NOT NULL DEFAULT 0,
	created     INTEGER NOT NULL DEFAULT 0,
	modified    INTEGER NOT NULL DEFAULT 0,
	local       INTEGER NOT NULL DEFAULT 0,
	hash        INTEGER NOT NULL DEFAULT 0,
	doc         TEXT    NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX edge_out ON edge (type, src, dst, shown);
CREATE INDEX edge_in  ON edge (type, dst, src, shown);
