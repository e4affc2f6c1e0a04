"""The errors that Paperround raises on purpose. The edges translate them once.

Command line: one line on standard error and `exit_status`. Pages: a friendly page with
`http_status`. API: an RFC 9457 problem with the same status.
"""


class PaperroundError(Exception):
    """Something that a person can act upon; the message, one line, says value and remedy."""

    exit_status = 3
    http_status = 500


class UsageError(PaperroundError):
    """The request itself is off: an unknown slug, a bad option, a value out of range."""

    exit_status = 2
    http_status = 400


class NotFoundError(UsageError):
    """The thing asked for is not here."""

    http_status = 404


class ForbiddenError(PaperroundError):
    """Whoever asks may not do this from where they ask."""

    exit_status = 2
    http_status = 403


class SignInError(PaperroundError):
    """Nobody is signed in who may do this, or the name or the password is not right."""

    exit_status = 2
    http_status = 401


class TooOftenError(PaperroundError):
    """Asked for too often; `wait_s` says after how many seconds it may be asked again."""

    exit_status = 2
    http_status = 429

    def __init__(self, message: str, wait_s: int) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class CardError(PaperroundError):
    """A paper's card or its measurements break the contract."""


class SourceError(PaperroundError):
    """A source's server refuses, breaks off or answers what it should not; try again later."""


class AssetError(PaperroundError):
    """An asset cannot be had here; the message says how to get it."""


class MissingExtraError(PaperroundError):
    """An optional dependency is needed and absent; the message names the extra."""


class TrainingError(PaperroundError):
    """A training cannot go on; the message says where it stopped and what was kept."""


class ScoresError(PaperroundError):
    """A model's scores are not all finite, and nothing can be ranked by them."""


class UnsupportedError(UsageError):
    """A language model lacks a capability; the message names both, `capability` only the latter."""

    def __init__(self, capability: str, who: str, why: str) -> None:
        super().__init__(f"{who} cannot {capability}: {why}")
        self.capability = capability


class EndpointError(PaperroundError):
    """A server of language models refuses, hangs, breaks off or answers what it should not."""
