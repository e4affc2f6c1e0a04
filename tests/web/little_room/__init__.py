"""A room as somebody else's package would bring it: small, quick, and with one of every verdict."""
