-- Who acted: the caller of the RPC, and the person on whose behalf it acted. '' is the gateway itself or a provider, and
-- is in every row of a release before these columns. A row of such a release has who acted in switched_by,
-- resolved_by or redelivered_by; since then these have the caller.
ALTER TABLE closures ADD COLUMN actor text NOT NULL DEFAULT '';
ALTER TABLE closures ADD COLUMN on_behalf_of text NOT NULL DEFAULT '';

ALTER TABLE exchanges ADD COLUMN actor text NOT NULL DEFAULT '';
ALTER TABLE exchanges ADD COLUMN on_behalf_of text NOT NULL DEFAULT '';

ALTER TABLE provider_switches ADD COLUMN on_behalf_of text NOT NULL DEFAULT '';

ALTER TABLE reconciliation_items ADD COLUMN resolved_on_behalf_of text NOT NULL DEFAULT '';
