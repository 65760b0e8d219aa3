-- What lists and searches show: the property "catalogue" of every state that has one, projected by the statement that writes the state.
-- It never lags behind the states and cannot be lost. Failing here fails the write: a state that cannot be listed is not stored.
CREATE TABLE catalogue
(
    state bigint PRIMARY KEY, -- OrleansStorage.Id
    kind text NOT NULL,
    id text COLLATE "C" NOT NULL,
    name text NULL,
    status text NOT NULL,
    owner text NULL,
    image text NULL,
    machine text NULL,
    createdAt bigint NOT NULL, -- Milliseconds since 1970-01-01T00:00:00Z.
    -- A JSON array, NULL where it is empty. Not a table of its own: layers are written with every deploy and capture, and read as a whole once
    -- an hour.
    layers jsonb NULL,
    view text NOT NULL
);

-- Lists are read by key, in the order of creation. Columns that change often (status) stand only in the index of what changes rarely (images).
CREATE INDEX catalogue_kind ON catalogue(kind, createdAt, id);
CREATE INDEX catalogue_owner ON catalogue(owner, kind, createdAt, id) WHERE owner IS NOT NULL;
CREATE INDEX catalogue_image ON catalogue(image) WHERE image IS NOT NULL;
CREATE INDEX catalogue_machine ON catalogue(machine) WHERE machine IS NOT NULL;
CREATE INDEX catalogue_image_status ON catalogue(status, createdAt, id) WHERE kind = 'image';
CREATE INDEX catalogue_image_name ON catalogue(name, createdAt, id) WHERE kind = 'image';

CREATE FUNCTION project_into_catalogue() RETURNS trigger LANGUAGE plpgsql AS
$function$
DECLARE
    entry json;
BEGIN
    IF TG_OP = 'DELETE' THEN
        DELETE FROM catalogue WHERE state = OLD.Id;
        RETURN NULL;
    END IF;

    entry := convert_from(NEW.PayloadBinary, 'UTF8')::json -> 'catalogue';
    IF entry IS NULL OR json_typeof(entry) <> 'object' THEN
        DELETE FROM catalogue WHERE state = NEW.Id;
        RETURN NULL;
    END IF;

    INSERT INTO catalogue (state, kind, id, name, status, owner, image, machine, createdAt, layers, view)
    SELECT
        NEW.Id, e.kind, e.id, e.name, e.status, e.owner, e.image, e.machine,
        round(extract(epoch FROM e."createdAt") * 1000)::bigint,
        nullif(e.layers, '[]'::jsonb),
        e.view::text
    FROM json_to_record(entry) AS e(
        kind text, id text, name text, status text, owner text, image text, machine text, "createdAt" timestamptz, layers jsonb, view json)
    ON CONFLICT (state) DO UPDATE SET
        kind = excluded.kind, id = excluded.id, name = excluded.name, status = excluded.status, owner = excluded.owner,
        image = excluded.image, machine = excluded.machine, createdAt = excluded.createdAt, layers = excluded.layers, view = excluded.view;
    RETURN NULL;
END
$function$;

CREATE TRIGGER catalogue_state AFTER INSERT OR DELETE OR UPDATE OF PayloadBinary ON OrleansStorage
FOR EACH ROW EXECUTE FUNCTION project_into_catalogue();
