"""What an operator may set, from the environment (`PAPERROUND_…`). Values are checked on start.

`PAPERROUND_HOME`    where the database and the runs live
`PAPERROUND_CACHE`   where fetched assets lie; inside the home unless set
`PAPERROUND_ASSETS`  a folder of assets to look in before anything is fetched
"""

from functools import cache
from pathlib import Path

from platformdirs import user_data_path
from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """One instance, made by `get_settings()`; tests make their own."""

    model_config = SettingsConfigDict(env_prefix="PAPERROUND_", extra="ignore", frozen=True)

    home: Path = Field(default_factory=lambda: user_data_path("paperround"))
    cache: Path | None = None
    assets: Path | None = None
    # An SQLAlchemy address; empty means SQLite inside `home`.
    database_url: str = ""
    run_threads: int = Field(default=2, ge=1, description="processor threads given to one run")

    @field_validator("home", "cache", "assets")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return path.expanduser().absolute() if path else None

    @property
    def database(self) -> str:
        """The SQLAlchemy address of the database."""
        return self.database_url or f"sqlite:///{self.home / 'paperround.sqlite3'}"

    @property
    def runs_dir(self) -> Path:
        """One folder per run: its log, its scratch folder."""
        return self.home / "runs"

    @property
    def cache_dir(self) -> Path:
        """Assets that were fetched, and what was derived from them; safe to delete."""
        return self.cache or self.home / "cache"


@cache
def get_settings() -> Settings:
    """The settings of this process, read from the environment once."""
    return Settings()
