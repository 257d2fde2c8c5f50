"""Load generators. They are lean, so that the server is what is measured."""
