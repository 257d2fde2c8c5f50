"""The only SQL: one interface, its engines, numbered migrations."""
