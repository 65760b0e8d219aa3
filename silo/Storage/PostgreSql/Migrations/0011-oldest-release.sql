-- The oldest release that may run on this database: one that has the migration of this number. A silo checks it at start.
-- A later release that writes what older ones would damage raises it in its own script: UPDATE database_fact SET value = '0015' WHERE name = 'oldest-migration';
-- From here on a release keeps members of stored records that it does not know.
INSERT INTO database_fact (name, value) VALUES ('oldest-migration', '0011');
