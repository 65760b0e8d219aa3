-- Whose appliances, virtual machines and images are, and what they count in quotas. What has a record from before belongs to the default enterprise.
ALTER TABLE catalogue ADD COLUMN enterprise TEXT NULL;
ALTER TABLE catalogue ADD COLUMN isShared INTEGER NOT NULL DEFAULT 0;
ALTER TABLE catalogue ADD COLUMN quotaBytes INTEGER NULL; -- Of an import under way what its sender has announced.
ALTER TABLE catalogue ADD COLUMN planned TEXT NULL; -- A JSON array: the images that an appliance's running capture makes.

UPDATE catalogue SET enterprise = '00000000-0000-0000-0000-000000000000' WHERE kind IN ('image', 'appliance', 'virtual-machine');
UPDATE catalogue SET quotaBytes = bytes WHERE kind = 'image';

-- What quotas are checked by: for images out of this index alone, for machines over the appliances that are deployed. Writes of machines and operations touch neither.
-- The kind stands in them, since else SQLite takes the index of all kinds.
CREATE INDEX catalogue_image_enterprise ON catalogue(kind, enterprise, status, quotaBytes, id) WHERE kind = 'image';
CREATE INDEX catalogue_appliance_enterprise ON catalogue(kind, enterprise, createdAt, id) WHERE kind = 'appliance';

DROP TRIGGER catalogue_state_inserted;
DROP TRIGGER catalogue_state_updated;

-- PayloadBinary is a BLOB that holds UTF-8 JSON. It is cast to text first: SQLite takes a BLOB for its own binary form of JSON.
CREATE TRIGGER catalogue_state_inserted AFTER INSERT ON OrleansStorage
WHEN json_type(CAST(NEW.PayloadBinary AS TEXT), '$.catalogue') = 'object'
BEGIN
    INSERT INTO catalogue (
        state, kind, id, name, status, owner, image, machine, createdAt, layers, view, searchName, bytes, labels, retention, isExempt,
        enterprise, isShared, quotaBytes, planned)
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
        entry -> 'planned'
    FROM (SELECT CAST(NEW.PayloadBinary AS TEXT) -> '$.catalogue' AS entry);
END;

CREATE TRIGGER catalogue_state_updated AFTER UPDATE OF PayloadBinary ON OrleansStorage
WHEN json_type(CAST(NEW.PayloadBinary AS TEXT), '$.catalogue') = 'object'
BEGIN
    INSERT INTO catalogue (
        state, kind, id, name, status, owner, image, machine, createdAt, layers, view, searchName, bytes, labels, retention, isExempt,
        enterprise, isShared, quotaBytes, planned)
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
        entry -> 'planned'
    FROM (SELECT CAST(NEW.PayloadBinary AS TEXT) -> '$.catalogue' AS entry)
    WHERE TRUE -- Else the parser takes ON CONFLICT for the ON of a join.
    ON CONFLICT(state) DO UPDATE SET
        kind = excluded.kind, id = excluded.id, name = excluded.name, status = excluded.status, owner = excluded.owner,
        image = excluded.image, machine = excluded.machine, createdAt = excluded.createdAt, layers = excluded.layers, view = excluded.view,
        searchName = excluded.searchName, bytes = excluded.bytes, labels = excluded.labels, retention = excluded.retention, isExempt = excluded.isExempt,
        enterprise = excluded.enterprise, isShared = excluded.isShared, quotaBytes = excluded.quotaBytes, planned = excluded.planned;
END;
