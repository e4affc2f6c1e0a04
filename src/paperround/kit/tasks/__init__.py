"""Tasks whose answers a program can check, so that no judge is needed. Start at `countdown`."""
