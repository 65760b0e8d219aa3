-- The oldest release that may run on this database: one that has the migration of this number. A silo checks it at start.
-- A later release that writes what older ones would damage raises it in its own script: UPDATE oldest_release SET migration = 15;
CREATE TABLE oldest_release (
    one integer NOT NULL PRIMARY KEY CHECK (one = 1),
    migration integer NOT NULL
);
-- From here on a release keeps members of stored records that it does not know.
INSERT INTO oldest_release (one, migration) VALUES (1, 11);
