-- Where the newest metadata of silver.detections is: what the console needs to read this table alone.
-- depends: 0039_erasures

CREATE VIEW detections_metadata AS
SELECT catalog_name, metadata_location
FROM iceberg_tables
WHERE table_namespace = 'silver' AND table_name = 'detections';
COMMENT ON VIEW detections_metadata IS
    'Where the newest metadata file of silver.detections in one catalog is. Key: catalog_name.';
