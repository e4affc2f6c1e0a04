"""One room per paper, all alike; `docs/papers.md` says what stands in one."""
