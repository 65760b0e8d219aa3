-- The machines of a host are looked for when it goes and when it comes back. The view is the only place that names it.
CREATE INDEX catalogue_host ON catalogue((view ->> 'host'), createdAt, id) WHERE kind = 'virtual-machine';
