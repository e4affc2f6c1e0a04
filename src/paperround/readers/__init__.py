"""Readers: accounts and sessions, votes, comments, collections, submissions, tokens of the API.

`tables.py` is the schema and `queries.py` reads; what writes is called after what it writes:
`accounts.py` (signing up and in), `identities.py` (elsewhere), `sessions.py`, `links.py` (sent or
printed, good for one use), `votes.py`, `comments.py`, `collections.py`, `submissions.py` (handed
in; `receiving.py` is what a worker makes of them), `authorship.py`, `administration.py`,
`tokens.py`. `limits.py` says how often somebody may try.
"""
