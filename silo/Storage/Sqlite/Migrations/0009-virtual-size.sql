-- What images count in the quota of virtual size. A capture or a promotion that runs meanwhile counts when its images are there.
ALTER TABLE catalogue ADD COLUMN virtualBytes INTEGER NULL; -- Of an image its disks, of an appliance those of all images that its running capture makes.

UPDATE catalogue SET virtualBytes = (SELECT coalesce(sum(disk.value ->> 'virtualSizeBytes'), 0) FROM json_each(catalogue.view, '$.disks') AS disk) WHERE kind = 'image';

-- The sums come out of this index alone.
DROP INDEX catalogue_image_enterprise;
CREATE INDEX catalogue_image_enterprise ON catalogue(kind, enterprise, status, quotaBytes, virtualBytes, id) WHERE kind = 'image';
-- An image of a capture is found by its id. SQLite takes an index that holds all it needs for better, and would read every image's entry in the other one.
DROP INDEX catalogue_image_id;
CREATE INDEX catalogue_image_id ON catalogue(kind, id, virtualBytes) WHERE kind = 'image';

DROP TRIGGER catalogue_state_inserted;
DROP TRIGGER catalogue_state_updated;

-- PayloadBinary is a BLOB that holds UTF-8 JSON. It is cast to text first: SQLite takes a BLOB for its own binary form of JSON.
CREATE TRIGGER catalogue_state_inserted AFTER INSERT ON OrleansStorage
WHEN json_type(CAST(NEW.PayloadBinary AS TEXT), '$.catalogue') = 'object'
BEGIN
    INSERT INTO catalogue (
        state, kind, id, name, status, owner, image, machine, createdAt, layers, view, searchName, bytes, labels, retention, isExempt,
        enterprise, isShared, quotaBytes, planned, virtualBytes)
    SELECT
        NEW.Id,
        entry ->> 'kind', entry ->> 'id', entry ->> 'name', entry ->> 'status', entry ->> 'owner', entry ->> 'image', entry ->> 'machine',
        CAST(round(unixepoch(entry ->> 'createdAt', 'subsec') * 1000) AS INTEGER),
        nullif(entry -> 'layers', '[]'),
        entry -> 'view',
        CASE entry ->> 'kind' WHEN 'image' THEN coalesce(entry ->> 'searchName', upper(entry ->> 'name')) END,
        CASE entry ->> 'kind' WHEN 'image' THEN entry ->> '$.view.bytes' END,
        CASE entry ->> 'kind' WHEN 'image' THEN entry -> '$.view.details.labels' END,
        CASE WHEN entry ->> 'kind' IN ('image', 'appliance') THEN entry -> '$.view.retention' END,
        CASE entry ->> 'kind' WHEN 'image' THEN coalesce(entry ->> '$.view.pinned', 0) OR entry ->> '$.view.restoredAt' IS NOT NULL OR entry ->> '$.view.sharing' IS 'allEnterprises' ELSE 0 END,
        CASE WHEN entry ->> 'kind' IN ('image', 'appliance', 'virtual-machine') THEN coalesce(entry ->> 'enterprise', '00000000-0000-0000-0000-000000000000') END,
        entry ->> '$.view.sharing' IS 'allEnterprises',
        CASE entry ->> 'kind' WHEN 'image' THEN coalesce(entry ->> 'quotaBytes', entry ->> '$.view.bytes') END,
        entry -> 'planned',
        entry ->> 'virtualBytes'
    FROM (SELECT CAST(NEW.PayloadBinary AS TEXT) -> '$.catalogue' AS entry);
END;

CREATE TRIGGER catalogue_state_updated AFTER UPDATE OF PayloadBinary ON OrleansStorage
WHEN json_type(CAST(NEW.PayloadBinary AS TEXT), '$.catalogue') = 'object'
BEGIN
    INSERT INTO catalogue (
        state, kind, id, name, status, owner, image, machine, createdAt, layers, view, searchName, bytes, labels, retention, isExempt,
        enterprise, isShared, quotaBytes, planned, virtualBytes)
    SELECT
        NEW.Id,
        entry ->> 'kind', entry ->> 'id', entry ->> 'name', entry ->> 'status', entry ->> 'owner', entry ->> 'image', entry ->> 'machine',
        CAST(round(unixepoch(entry ->> 'createdAt', 'subsec') * 1000) AS INTEGER),
        nullif(entry -> 'layers', '[]'),
        entry -> 'view',
        CASE entry ->> 'kind' WHEN 'image' THEN coalesce(entry ->> 'searchName', upper(entry ->> 'name')) END,
        CASE entry ->> 'kind' WHEN 'image' THEN entry ->> '$.view.bytes' END,
        CASE entry ->> 'kind' WHEN 'image' THEN entry -> '$.view.details.labels' END,
        CASE WHEN entry ->> 'kind' IN ('image', 'appliance') THEN entry -> '$.view.retention' END,
        CASE entry ->> 'kind' WHEN 'image' THEN coalesce(entry ->> '$.view.pinned', 0) OR entry ->> '$.view.restoredAt' IS NOT NULL OR entry ->> '$.view.sharing' IS 'allEnterprises' ELSE 0 END,
        CASE WHEN entry ->> 'kind' IN ('image', 'appliance', 'virtual-machine') THEN coalesce(entry ->> 'enterprise', '00000000-0000-0000-0000-000000000000') END,
        entry ->> '$.view.sharing' IS 'allEnterprises',
        CASE entry ->> 'kind' WHEN 'image' THEN coalesce(entry ->> 'quotaBytes', entry ->> '$.view.bytes') END,
        entry -> 'planned',
        entry ->> 'virtualBytes'
    FROM (SELECT CAST(NEW.PayloadBinary AS TEXT) -> '$.catalogue' AS entry)
    WHERE TRUE -- Else the parser takes ON CONFLICT for the ON of a join.
    ON CONFLICT(state) DO UPDATE SET
        kind = excluded.kind, id = excluded.id, name = excluded.name, status = excluded.status, owner = excluded.owner,
        image = excluded.image, machine = excluded.machine, createdAt = excluded.createdAt, layers = excluded.layers, view = excluded.view,
        searchName = excluded.searchName, bytes = excluded.bytes, labels = excluded.labels, retention = excluded.retention, isExempt = excluded.isExempt,
        enterprise = excluded.enterprise, isShared = excluded.isShared, quotaBytes = excluded.quotaBytes, planned = excluded.planned,
        virtualBytes = excluded.virtualBytes;
END;
