-- What lists and searches show: the property "catalogue" of every state that has one, projected by the statement that writes the state.
-- It never lags behind the states and cannot be lost. Failing here fails the write: a state that cannot be listed is not stored.
CREATE TABLE catalogue
(
    state INTEGER PRIMARY KEY, -- OrleansStorage.Id
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NULL,
    status TEXT NOT NULL,
    owner TEXT NULL,
    image TEXT NULL,
    machine TEXT NULL,
    createdAt INTEGER NOT NULL, -- Milliseconds since 1970-01-01T00:00:00Z: the JSON's text may hold any offset and any number of decimals.
    -- A JSON array, NULL where it is empty. Not a table of its own: layers are written with every deploy and capture, and read as a whole,
    -- by json_each, once an hour.
    layers TEXT NULL,
    view TEXT NOT NULL
);

-- Lists are read by key, in the order of creation. Columns that change often (status) stand only in the index of what changes rarely (images).
CREATE INDEX catalogue_kind ON catalogue(kind, createdAt, id);
CREATE INDEX catalogue_owner ON catalogue(owner, kind, createdAt, id) WHERE owner IS NOT NULL;
CREATE INDEX catalogue_image ON catalogue(image) WHERE image IS NOT NULL;
CREATE INDEX catalogue_machine ON catalogue(machine) WHERE machine IS NOT NULL;
CREATE INDEX catalogue_image_status ON catalogue(status, createdAt, id) WHERE kind = 'image';
CREATE INDEX catalogue_image_name ON catalogue(name, createdAt, id) WHERE kind = 'image';

-- PayloadBinary is a BLOB that holds UTF-8 JSON. It is cast to text first: SQLite takes a BLOB for its own binary form of JSON.
CREATE TRIGGER catalogue_state_inserted AFTER INSERT ON OrleansStorage
WHEN json_type(CAST(NEW.PayloadBinary AS TEXT), '$.catalogue') = 'object'
BEGIN
    INSERT INTO catalogue (state, kind, id, name, status, owner, image, machine, createdAt, layers, view)
    SELECT
        NEW.Id,
        entry ->> 'kind', entry ->> 'id', entry ->> 'name', entry ->> 'status', entry ->> 'owner', entry ->> 'image', entry ->> 'machine',
        CAST(round(unixepoch(entry ->> 'createdAt', 'subsec') * 1000) AS INTEGER),
        nullif(entry -> 'layers', '[]'),
        entry -> 'view'
    FROM (SELECT CAST(NEW.PayloadBinary AS TEXT) -> '$.catalogue' AS entry);
END;

CREATE TRIGGER catalogue_state_updated AFTER UPDATE OF PayloadBinary ON OrleansStorage
WHEN json_type(CAST(NEW.PayloadBinary AS TEXT), '$.catalogue') = 'object'
BEGIN
    INSERT INTO catalogue (state, kind, id, name, status, owner, image, machine, createdAt, layers, view)
    SELECT
        NEW.Id,
        entry ->> 'kind', entry ->> 'id', entry ->> 'name', entry ->> 'status', entry ->> 'owner', entry ->> 'image', entry ->> 'machine',
        CAST(round(unixepoch(entry ->> 'createdAt', 'subsec') * 1000) AS INTEGER),
        nullif(entry -> 'layers', '[]'),
        entry -> 'view'
    FROM (SELECT CAST(NEW.PayloadBinary AS TEXT) -> '$.catalogue' AS entry)
    WHERE TRUE -- Else the parser takes ON CONFLICT for the ON of a join.
    ON CONFLICT(state) DO UPDATE SET
        kind = excluded.kind, id = excluded.id, name = excluded.name, status = excluded.status, owner = excluded.owner,
        image = excluded.image, machine = excluded.machine, createdAt = excluded.createdAt, layers = excluded.layers, view = excluded.view;
END;

CREATE TRIGGER catalogue_state_unlisted AFTER UPDATE OF PayloadBinary ON OrleansStorage
WHEN json_type(CAST(NEW.PayloadBinary AS TEXT), '$.catalogue') IS NOT 'object'
BEGIN
    DELETE FROM catalogue WHERE state = NEW.Id;
END;

CREATE TRIGGER catalogue_state_deleted AFTER DELETE ON OrleansStorage
BEGIN
    DELETE FROM catalogue WHERE state = OLD.Id;
END;
