"""Subscriptions as JSON: a reader's own by a token, and any address's by double opt-in."""

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from paperround.clock import utc_now
from paperround.db import read
from paperround.errors import NotFoundError
from paperround.readers.mail import mailing_of
from paperround.readers.subjects import (
    MAX_QUERY,
    MODES,
    Kind,
    Subject,
    checked_cadence,
    checked_subject,
)
from paperround.readers.subscribing import ask_to_subscribe
from paperround.readers.subscriptions import (
    Subscriber,
    Subscription,
    end_all,
    end_subscription,
    resume,
    set_cadence,
    set_hours,
    subscribe_reader,
    subscriber_of_reader,
    subscriptions_of,
)
from paperround.readers.times import Cadence, Hours, checked_hours
from paperround.web.api.readers import REFUSED
from paperround.web.api.shapes import PROBLEMS
from paperround.web.site import Site, SiteHere
from paperround.web.visitors import ReaderHere, client_address

router = APIRouter(tags=["subscriptions"], responses={**PROBLEMS, **REFUSED})

Number = Annotated[int, Path(ge=1, le=2**53)]


class HoursShape(BaseModel):
    """When digests come: at an hour of a zone; weekly ones on a day, 0 for Monday."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"zone": "Europe/Berlin", "hour": 7, "weekday": 0}},
    )

    zone: str = Field(default="UTC", max_length=64)
    hour: int = Field(default=7, ge=0, le=23)
    weekday: int = Field(default=0, ge=0, le=6)

    def checked(self) -> Hours:
        """The hours as they are kept. Raises UsageError for a zone that is none."""
        return checked_hours(self.zone, self.hour, self.weekday)


class SubjectShape(BaseModel):
    """What is subscribed to: `value` is the category, the name or the query.

    Of `trending` it is a category, or nothing for all; `mode` is how a query is searched for.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"kind": "search", "value": "sequential redundancy", "cadence": "daily"}
        },
    )

    kind: Kind
    value: str = Field(default="", max_length=MAX_QUERY)
    mode: str = Field(default="", max_length=8, examples=[MODES[0]])
    cadence: Cadence = Cadence.DAILY

    def subject(self) -> Subject:
        """The subject as it is kept. Raises UsageError for one that cannot be."""
        return checked_subject(self.kind.value, self.value, self.mode)


class SubscribeAsked(SubjectShape):
    """The same for an address of mail, which has to confirm it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"email": "ada@lab.example", "kind": "trending", "cadence": "weekly"}
        },
    )

    email: str = Field(max_length=254)
    hours: HoursShape = HoursShape()


class CadenceAsked(BaseModel):
    """How often a subscription stands in a digest."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"cadence": "weekly"}})

    cadence: Cadence


class SubscriptionOut(BaseModel):
    """A subscription; `url` lists its papers."""

    id: int
    kind: Kind
    value: str
    mode: str
    says: str
    url: str
    cadence: Cadence
    since: datetime

    @classmethod
    def of(cls, held: Subscription) -> Self:
        """The shape of a subscription."""
        return cls(
            id=held.id,
            kind=held.subject.kind,
            value=held.subject.value,
            mode=held.subject.mode,
            says=held.subject.says,
            url=held.subject.path,
            cadence=held.cadence,
            since=held.since,
        )


class SubscriptionsOut(BaseModel):
    """What a reader gets by mail, and when; `suspended` says why nothing is sent."""

    email: str | None
    hours: HoursShape
    next_at: datetime | None
    suspended: str | None
    subscriptions: list[SubscriptionOut]


@router.post("/subscriptions", status_code=202)
def ask(request: Request, site: SiteHere, asked: SubscribeAsked) -> Response:
    """Mails a link to an address; once its button is pressed, it is subscribed.

    The answer is the same whatever is known of the address.
    """
    ask_to_subscribe(
        site.engine,
        asked.email,
        asked.subject(),
        checked_cadence(asked.cadence),
        asked.hours.checked(),
        mailing_of(site.settings),
        address=client_address(request),
        now=utc_now(),
    )
    return Response(status_code=202)


@router.get("/me/subscriptions")
def list_own(site: SiteHere, reader: ReaderHere) -> SubscriptionsOut:
    """What the reader gets by mail."""
    with read(site.engine) as connection:
        held = subscriber_of_reader(connection, reader)
        found = subscriptions_of(connection, held.id) if held else []
    hours = held.hours if held else Hours()
    return SubscriptionsOut(
        email=held.email if held else reader.email,
        hours=HoursShape(zone=hours.zone, hour=hours.hour, weekday=hours.weekday),
        next_at=held.next_at if held else None,
        suspended=held.suspended_because if held and held.suspended_at else None,
        subscriptions=[SubscriptionOut.of(each) for each in found],
    )


@router.post("/me/subscriptions", status_code=201)
def add_own(
    response: Response, site: SiteHere, reader: ReaderHere, asked: SubjectShape
) -> SubscriptionOut:
    """Subscribes the reader's confirmed address; one that stands gets the cadence."""
    made = subscribe_reader(site.engine, reader, asked.subject(), asked.cadence, utc_now())
    response.headers["location"] = f"/api/v1/me/subscriptions/{made}"
    return _own(site, _held(site, reader), made)


@router.get("/me/subscriptions/{subscription_id}")
def get_own(site: SiteHere, reader: ReaderHere, subscription_id: Number) -> SubscriptionOut:
    """One subscription of the reader's."""
    return _own(site, _held(site, reader), subscription_id)


@router.patch("/me/subscriptions/{subscription_id}")
def change_own(
    site: SiteHere, reader: ReaderHere, subscription_id: Number, asked: CadenceAsked
) -> SubscriptionOut:
    """Makes a subscription of the reader's daily or weekly."""
    held = _held(site, reader)
    set_cadence(site.engine, held.id, subscription_id, asked.cadence, utc_now())
    return _own(site, held, subscription_id)


@router.delete("/me/subscriptions/{subscription_id}", status_code=204)
def end_own(site: SiteHere, reader: ReaderHere, subscription_id: Number) -> Response:
    """Ends a subscription of the reader's."""
    end_subscription(site.engine, _held(site, reader).id, subscription_id, utc_now())
    return Response(status_code=204)


@router.delete("/me/subscriptions", status_code=204)
def end_all_own(site: SiteHere, reader: ReaderHere) -> Response:
    """Ends all of them; nothing is kept of them."""
    end_all(site.engine, _held(site, reader).id)
    return Response(status_code=204)


@router.put("/me/subscriptions/hours", status_code=204)
def put_hours(site: SiteHere, reader: ReaderHere, asked: HoursShape) -> Response:
    """Changes when the reader's digests come."""
    set_hours(site.engine, _held(site, reader).id, asked.checked(), utc_now())
    return Response(status_code=204)


@router.post("/me/subscriptions/resume", status_code=204)
def resume_own(site: SiteHere, reader: ReaderHere) -> Response:
    """Lets an address whose mail came back have its digests again."""
    resume(site.engine, _held(site, reader).id, utc_now())
    return Response(status_code=204)


def _held(site: Site, reader: ReaderHere) -> Subscriber:
    with read(site.engine) as connection:
        held = subscriber_of_reader(connection, reader)
    if held is None:
        raise NotFoundError("you subscribe to nothing yet")
    return held


def _own(site: Site, held: Subscriber, number: int) -> SubscriptionOut:
    with read(site.engine) as connection:
        found = [each for each in subscriptions_of(connection, held.id) if each.id == number]
    if not found:
        raise NotFoundError("this address has no such subscription")
    return SubscriptionOut.of(found[0])
