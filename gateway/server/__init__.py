"""The only place where things are wired together. Its modules are imported one by one: not every command needs all."""
