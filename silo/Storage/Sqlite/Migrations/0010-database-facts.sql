-- What the database says about itself. A silo reads it before anything else.
CREATE TABLE database_fact
(
    name text NOT NULL PRIMARY KEY,
    value text NOT NULL
);

-- Every datacenter had this name until it could have another.
INSERT INTO database_fact (name, value) SELECT 'datacenter', 'local' WHERE EXISTS (SELECT 1 FROM OrleansStorage);
