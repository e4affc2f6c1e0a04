"""What goes wrong with compressed data."""

from paperround.errors import PaperroundError


class DamagedError(PaperroundError):
    """The compressed data is damaged, cut short, not of this format, or beyond a limit."""
