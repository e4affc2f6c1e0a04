"""The schema's history; `paperround.db.migrate` applies it."""
