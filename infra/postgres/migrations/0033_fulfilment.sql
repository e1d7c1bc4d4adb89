-- The branch that fulfils an order, where that is another one than the branch of the sale.
-- depends: 0027_order_identity 0032_what_tills_send

ALTER TABLE orders_processed RENAME COLUMN fulfilment_branch_id TO stated_fulfilment;
ALTER TABLE orders_processed ADD COLUMN fulfilment_branch_id text
    GENERATED ALWAYS AS (coalesce(stated_fulfilment, nullif(status_branch_id, branch_id))) VIRTUAL;
COMMENT ON COLUMN orders_processed.stated_fulfilment IS 'The fulfilment_branch_id of the newest body.';
COMMENT ON COLUMN orders_processed.fulfilment_branch_id IS
    'As the order states it, else the branch that reported the newest event; null where it is the branch of the sale.';
