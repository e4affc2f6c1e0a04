"""Paperround: your daily papers, and they run."""

__version__ = "0.1.0"
