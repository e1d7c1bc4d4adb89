-- The tables of the Iceberg catalog, as Iceberg's JdbcCatalog (schema version V1) and PyIceberg define
-- them. Whoever opens the catalog first would make them; validation and maintenance only read them.

CREATE TABLE IF NOT EXISTS iceberg_tables (
    catalog_name               varchar(255) NOT NULL,
    table_namespace            varchar(255) NOT NULL,
    table_name                 varchar(255) NOT NULL,
    metadata_location          varchar(1000),
    previous_metadata_location varchar(1000),
    iceberg_type               varchar(5),
    PRIMARY KEY (catalog_name, table_namespace, table_name)
);
COMMENT ON TABLE iceberg_tables IS 'A table or view of the lake: where its newest metadata is.';

CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (
    catalog_name   varchar(255) NOT NULL,
    namespace      varchar(255) NOT NULL,
    property_key   varchar(255) NOT NULL,
    property_value varchar(1000),
    PRIMARY KEY (catalog_name, namespace, property_key)
);
COMMENT ON TABLE iceberg_namespace_properties IS 'A property of a namespace of the lake.';
