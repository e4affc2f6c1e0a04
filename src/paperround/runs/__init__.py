"""Runs: cards, claims and bars, the reproduction contract, the queue and its worker, results."""
