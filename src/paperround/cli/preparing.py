"""A catalogue that is never empty: the first papers come with the program."""

from typing import Any

from paperround.terminal import Progress


def prepare_catalogue(engine: Any) -> None:
    """Gives an empty catalogue its first papers and their embeddings, with a progress bar."""
    from paperround.catalogue.starter import import_starter
    from paperround.discovery.starter import load_starter_vectors

    with Progress("Preparing the catalogue", unit="papers") as progress:
        if import_starter(engine, on_progress=progress.advance_to) is not None:
            load_starter_vectors(engine)
