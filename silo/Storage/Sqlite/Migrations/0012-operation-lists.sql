-- Lists of operations, the newest first, by status and by kind. By appliance and by image they have indexes already.
CREATE INDEX catalogue_operation_status ON catalogue(kind, status, createdAt, id) WHERE kind = 'operation';
CREATE INDEX catalogue_operation_kind ON catalogue(kind, (view ->> 'kind'), createdAt, id) WHERE kind = 'operation';
