"""Quantiles of a stream in one or two numbers of memory.

Use it where there are millions of groups (an address, a user, a key) and each may cost a number or
two: a running median or 90th percentile that follows the stream when it drifts. Items are integers,
and the estimate moves in steps of at least 1, so scale small numbers up first. It is no replacement
for a quantile sketch where a kilobyte for each group is at hand.

Example:
    for estimate in frugal_2u(response_times_ms, quantile=0.9):
        ...

Qiang Ma, S. Muthukrishnan, Mark Sandler: Frugal Streaming for Estimating Quantiles: One (or two)
memory suffices. arXiv:1407.1121.
"""

from my_paper.method import frugal_1u, frugal_2u

__all__ = ["frugal_1u", "frugal_2u"]
