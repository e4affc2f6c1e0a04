"""Papers as records: where they come from, and which of them are one paper."""
