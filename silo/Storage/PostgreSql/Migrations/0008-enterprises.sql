-- Whose appliances, virtual machines and images are, and what they count in quotas. What has a record from before belongs to the default enterprise.
ALTER TABLE catalogue
    ADD COLUMN enterprise text COLLATE "C" NULL,
    ADD COLUMN isShared boolean NOT NULL DEFAULT FALSE,
    ADD COLUMN quotaBytes bigint NULL, -- Of an import under way what its sender has announced.
    ADD COLUMN planned jsonb NULL; -- An array: the images that an appliance's running capture makes.

UPDATE catalogue SET enterprise = '00000000-0000-0000-0000-000000000000' WHERE kind IN ('image', 'appliance', 'virtual-machine');
UPDATE catalogue SET quotaBytes = bytes WHERE kind = 'image';

-- What quotas are checked by: for images out of this index alone, for machines over the appliances that are deployed. Writes of machines and operations touch neither.
CREATE INDEX catalogue_image_enterprise ON catalogue(enterprise, status, quotaBytes, id) WHERE kind = 'image';
CREATE INDEX catalogue_appliance_enterprise ON catalogue(enterprise, createdAt, id) WHERE kind = 'appliance';

-- Ids are compared with ids: in the same collation, since an index of another one does not serve that.
ALTER TABLE catalogue
    ALTER COLUMN owner TYPE text COLLATE "C",
    ALTER COLUMN image TYPE text COLLATE "C",
    ALTER COLUMN machine TYPE text COLLATE "C";
-- PostgreSQL takes a condition that the index has already for no key of it, and would read the whole index: the kind does not stand in them.
DROP INDEX catalogue_image_search;
DROP INDEX catalogue_image_bytes;
DROP INDEX catalogue_image_id;
CREATE INDEX catalogue_image_search ON catalogue(searchName, id) WHERE kind = 'image';
CREATE INDEX catalogue_image_bytes ON catalogue(bytes, id) WHERE kind = 'image';
CREATE INDEX catalogue_image_id ON catalogue(id) WHERE kind = 'image';

CREATE OR REPLACE FUNCTION project_into_catalogue() RETURNS trigger LANGUAGE plpgsql AS
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

    INSERT INTO catalogue (
        state, kind, id, name, status, owner, image, machine, createdAt, layers, view, searchName, bytes, labels, retention, isExempt,
        enterprise, isShared, quotaBytes, planned)
    SELECT
        NEW.Id, e.kind, e.id, e.name, e.status, e.owner, e.image, e.machine,
        round(extract(epoch FROM e."createdAt") * 1000)::bigint,
        nullif(e.layers, '[]'::jsonb),
        e.view::text,
        CASE e.kind WHEN 'image' THEN coalesce(e."searchName", upper(e.name)) END,
        CASE e.kind WHEN 'image' THEN (e.view ->> 'bytes')::bigint END,
        CASE e.kind WHEN 'image' THEN (e.view #> '{details,labels}')::jsonb END,
        CASE WHEN e.kind IN ('image', 'appliance') THEN e.view ->> 'retention' END,
        CASE e.kind WHEN 'image' THEN coalesce((e.view ->> 'pinned')::boolean, FALSE) OR e.view ->> 'restoredAt' IS NOT NULL OR coalesce(e.view ->> 'sharing', '') = 'allEnterprises' ELSE FALSE END,
        CASE WHEN e.kind IN ('image', 'appliance', 'virtual-machine') THEN coalesce(e.enterprise, '00000000-0000-0000-0000-000000000000') END,
        coalesce(e.view ->> 'sharing', '') = 'allEnterprises',
        CASE e.kind WHEN 'image' THEN coalesce(e."quotaBytes", (e.view ->> 'bytes')::bigint) END,
        e.planned
    FROM json_to_record(entry) AS e(
        kind text, id text, name text, status text, owner text, image text, machine text, "createdAt" timestamptz, layers jsonb, view json, "searchName" text,
        enterprise text, "quotaBytes" bigint, planned jsonb)
    ON CONFLICT (state) DO UPDATE SET
        kind = excluded.kind, id = excluded.id, name = excluded.name, status = excluded.status, owner = excluded.owner,
        image = excluded.image, machine = excluded.machine, createdAt = excluded.createdAt, layers = excluded.layers, view = excluded.view,
        searchName = excluded.searchName, bytes = excluded.bytes, labels = excluded.labels, retention = excluded.retention, isExempt = excluded.isExempt,
        enterprise = excluded.enterprise, isShared = excluded.isShared, quotaBytes = excluded.quotaBytes, planned = excluded.planned;
    RETURN NULL;
END
$function$;
