"""What an operator may set: `PAPERROUND_…` in the environment, and a file. Checked on start.

`PAPERROUND_HOME`    where the database and the runs live
`PAPERROUND_CONFIG`  the file, TOML; `paperround.toml` inside the home unless set
`PAPERROUND_CACHE`   where fetched assets lie; inside the home unless set
`PAPERROUND_ASSETS`  a folder of assets to look in before anything is fetched

What belongs to a part is written with two underscores: `PAPERROUND_MAIL__PASSWORD`.
"""

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from platformdirs import user_data_path
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

# A time of cron is read against a day, whichever it is.
_ANY_DAY = datetime(2026, 1, 1, tzinfo=UTC)


class ScheduledSource(BaseModel):
    """One `[[sources]]` of the configuration: what is imported, and when."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    arguments: tuple[str, ...] = ()
    # As cron has it: minute, hour, day of the month, month, day of the week.
    when: str
    # The zone in which `when` is meant.
    zone: str = "UTC"
    # What the page of sources calls it; it keeps its history under that name.
    name: str = ""

    @field_validator("zone")
    @classmethod
    def _known(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (LookupError, ValueError, OSError) as error:
            raise ValueError(f"there is no zone '{zone}'; write one like Europe/Berlin") from error
        return zone

    @field_validator("when")
    @classmethod
    def _cron(cls, when: str) -> str:
        try:
            CronSim(when, _ANY_DAY)
        except CronSimError as error:
            raise ValueError(
                f"'{when}' is no time of cron; write one like '30 5 * * 1-5'"
            ) from error
        return when

    @model_validator(mode="after")
    def _named(self) -> Self:
        if not self.name:
            object.__setattr__(self, "name", " ".join((self.source, *self.arguments))[:100])
        return self


class MailServer(BaseModel):
    """`[mail]` of the configuration: the server that takes our mail, and whose name it bears."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str
    port: int = Field(default=587, ge=1, le=65535)
    # `starttls` and `tls` check the server's certificate.
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    password: SecretStr = SecretStr("")
    # The address in From.
    sender: str
    # Where other servers send back what they cannot deliver; the sender's unless it is set.
    bounces: str = ""

    @model_validator(mode="after")
    def _kept_secret(self) -> Self:
        if self.security == "none" and self.password.get_secret_value():
            raise ValueError("a password is sent with security = 'starttls' or 'tls' only")
        for name, address in (("sender", self.sender), ("bounces", self.bounces or self.sender)):
            if "@" not in address or any(sign in address for sign in "\r\n<>"):
                raise ValueError(f"{name} = '{address}' is no address; write one like a@b.example")
        return self


class OpenIdProvider(BaseModel):
    """`[oidc]` of the configuration: who says who somebody is, beside their password here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Its address, under which /.well-known/openid-configuration is found.
    issuer: str
    client_id: str
    client_secret: SecretStr
    # What the button is called: "Sign in with …".
    name: str = "your organisation"
    # Whether everybody it knows may have an account, wherever `sign_up` stands.
    sign_up: bool = False

    @field_validator("issuer")
    @classmethod
    def _secure(cls, issuer: str) -> str:
        parts = urlsplit(issuer)
        is_here = parts.hostname in ("localhost", "127.0.0.1", "::1")
        if parts.scheme != "https" and not (parts.scheme == "http" and is_here):
            raise ValueError(f"issuer = '{issuer}' must begin with https://")
        return issuer


class RerankerModel(BaseModel):
    """`[reranker]` of the configuration: a local model that may rank the first papers again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # As transformers saves one: a sequence classifier (cross-encoder) or a causal language model.
    folder: Path
    # How it is asked; `auto` goes by what it is.
    by: Literal["auto", "cross-encoder", "query-likelihood", "yes-no"] = "auto"
    # How many of the first papers it ranks again.
    first: int = Field(default=50, ge=2, le=200)
    # Its part in the order; the rest is what search itself says.
    weight: float = Field(default=1.0, gt=0, le=1)
    # Seconds until it is ended, loading it included.
    timeout_s: float = Field(default=120.0, gt=0)
    threads: int = Field(default=2, ge=1)

    @field_validator("folder")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.expanduser().absolute()


class TextGeneration(BaseModel):
    """`[generation]` of the configuration: what the page that generates text may work with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # By the name that readers choose: an asset, or a folder that transformers reads, said by its
    # whole path. The first is what is chosen unless another is; with none, nothing is generated.
    models: Mapping[str, str] = {"smollm2-135m": "smollm2-135m"}
    # Of one generation: loading the model, the method, and greedy decoding beside it.
    time_limit_s: float = Field(default=120.0, gt=0)
    memory_limit_mb: int = Field(default=4_000, ge=100)

    @field_validator("models")
    @classmethod
    def _named(cls, models: Mapping[str, str]) -> Mapping[str, str]:
        for name, where in models.items():
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}", name):
                raise ValueError(f"'{name}' is no name of a model; write one like our-qwen")
            if "/" in where and not Path(where).expanduser().is_absolute():
                raise ValueError(f"the model '{name}' is at '{where}'; write the whole path")
        return {
            name: str(Path(where).expanduser()) if "/" in where else where
            for name, where in models.items()
        }


class Settings(BaseSettings):
    """One instance, made by `get_settings()`; tests make their own."""

    model_config = SettingsConfigDict(
        env_prefix="PAPERROUND_",
        # PAPERROUND_MAIL__PASSWORD: a secret need not stand in the file.
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
    )

    home: Path = Field(default_factory=lambda: user_data_path("paperround"))
    cache: Path | None = None
    assets: Path | None = None
    # An SQLAlchemy address; empty means SQLite inside `home`.
    database_url: str = ""
    # Told to the servers of sources, so that they can reach whoever asks: an address of mail.
    contact: str = ""
    # A mirror's address instead of a source's own, by source.
    source_addresses: Mapping[str, str] = {}
    sources: tuple[ScheduledSource, ...] = ()
    run_threads: int = Field(default=2, ge=1, description="processor threads given to one run")
    # Where readers reach this place, such as https://papers.example; mails and cookies need it.
    public_url: str = ""
    # Addresses of proxies in front of the server, whose X-Forwarded-For is believed.
    proxies: tuple[str, ...] = ()
    # Who may have an account: everybody, who is invited, or whom an admin adds by a command.
    sign_up: Literal["open", "invitation", "closed"] = "invitation"
    # How many searches a minute one network address or reader may make; 0 for any number.
    searches_per_minute: int = Field(default=60, ge=0)
    # How long a comment may be changed by who wrote it.
    comment_edit_minutes: int = Field(default=30, ge=0)
    mail: MailServer | None = None
    oidc: OpenIdProvider | None = None
    reranker: RerankerModel | None = None
    generation: TextGeneration = TextGeneration()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file."""
        home = Path(os.environ.get("PAPERROUND_HOME") or user_data_path("paperround"))
        path = Path(os.environ.get("PAPERROUND_CONFIG") or home.expanduser() / "paperround.toml")
        file = TomlConfigSettingsSource(settings_cls, toml_file=path)
        return init_settings, env_settings, file

    @field_validator("sources")
    @classmethod
    def _told_apart(cls, sources: tuple[ScheduledSource, ...]) -> tuple[ScheduledSource, ...]:
        names = [source.name for source in sources]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two sources are called '{twice[0]}'; give one another name")
        return sources

    @field_validator("public_url")
    @classmethod
    def _origin(cls, url: str) -> str:
        parts = urlsplit(url)
        if url and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ValueError(f"public_url = '{url}' is no address; write https://papers.example")
        if parts.path.strip("/") or parts.query or parts.fragment or parts.username:
            raise ValueError(f"public_url = '{url}' goes on after the host; it cannot")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if (self.mail or self.oidc) and not self.public_url:
            raise ValueError("mail and oidc need public_url, so that their links lead here")
        return self

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
    def search_dir(self) -> Path:
        """The indexes of search, made from the database; safe to delete."""
        return self.home / "search"

    @property
    def cache_dir(self) -> Path:
        """Assets that were fetched, and what was derived from them; safe to delete."""
        return self.cache or self.home / "cache"


@cache
def get_settings() -> Settings:
    """The settings of this process, read from the environment once."""
    return Settings()
