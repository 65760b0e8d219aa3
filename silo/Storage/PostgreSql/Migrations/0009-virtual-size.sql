-- What images count in the quota of virtual size. A capture or a promotion that runs meanwhile counts when its images are there.
ALTER TABLE catalogue ADD COLUMN virtualBytes bigint NULL; -- Of an image its disks, of an appliance those of all images that its running capture makes.

UPDATE catalogue SET virtualBytes = (SELECT coalesce(sum((disk ->> 'virtualSizeBytes')::bigint), 0) FROM json_array_elements(view::json -> 'disks') AS disk) WHERE kind = 'image';

-- The sums come out of this index alone.
DROP INDEX catalogue_image_enterprise;
CREATE INDEX catalogue_image_enterprise ON catalogue(enterprise, status, quotaBytes, virtualBytes, id) WHERE kind = 'image';

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
        enterprise, isShared, quotaBytes, planned, virtualBytes)
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
        e.planned,
        e."virtualBytes"
    FROM json_to_record(entry) AS e(
        kind text, id text, name text, status text, owner text, image text, machine text, "createdAt" timestamptz, layers jsonb, view json, "searchName" text,
        enterprise text, "quotaBytes" bigint, planned jsonb, "virtualBytes" bigint)
    ON CONFLICT (state) DO UPDATE SET
        kind = excluded.kind, id = excluded.id, name = excluded.name, status = excluded.status, owner = excluded.owner,
        image = excluded.image, machine = excluded.machine, createdAt = excluded.createdAt, layers = excluded.layers, view = excluded.view,
        searchName = excluded.searchName, bytes = excluded.bytes, labels = excluded.labels, retention = excluded.retention, isExempt = excluded.isExempt,
        enterprise = excluded.enterprise, isShared = excluded.isShared, quotaBytes = excluded.quotaBytes, planned = excluded.planned,
        virtualBytes = excluded.virtualBytes;
    RETURN NULL;
END
$function$;
