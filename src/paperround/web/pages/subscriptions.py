"""Papers by mail: subscribing, confirming, changing what comes, and ending it.

Looking at a page changes nothing, whoever looks: scanners of mail open every link. Buttons act.
"""

from functools import cache
from typing import Annotated, Any
from zoneinfo import available_timezones

from fastapi import APIRouter, Form, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from paperround.clock import utc_now
from paperround.db import read, write
from paperround.errors import NotFoundError, PaperroundError, TooOftenError, UsageError
from paperround.readers import limits
from paperround.readers.mail import mailing_of
from paperround.readers.records import Reader
from paperround.readers.subjects import (
    WEEKDAYS,
    Kind,
    checked_cadence,
    checked_subject,
    said_hours,
    said_moment,
)
from paperround.readers.subscribing import (
    Request as Asked,
)
from paperround.readers.subscribing import (
    ask_for_manage_link,
    ask_to_subscribe,
    confirm_request,
    find_request,
)
from paperround.readers.subscriptions import (
    MANAGE,
    STOP,
    Subscriber,
    add_subscription,
    end_all,
    end_subscription,
    manage_path,
    resume,
    set_cadence,
    set_hours,
    subscribe_reader,
    subscriber_by_token,
    subscriber_of_reader,
    subscriptions_of,
)
from paperround.readers.times import Hours, checked_hours
from paperround.web.failures import retry_headers
from paperround.web.rendering import render
from paperround.web.site import Site, SiteHere
from paperround.web.visitors import ReaderHere, client_address, who

router = APIRouter()

OWN = "/me/subscriptions"
KINDS = (
    (Kind.TRENDING, "What is trending"),
    (Kind.CATEGORY, "A category"),
    (Kind.AUTHOR, "An author"),
    (Kind.ORGANISATION, "An organisation"),
    (Kind.SEARCH, "A search"),
)

Text = Annotated[str, Form(max_length=1500)]
Number = Annotated[int, Form()]
Wanted = Annotated[str, Query(max_length=1500)]


@router.get("/subscribe")
def subscribe_form(
    request: Request, site: SiteHere, kind: Wanted = "", value: Wanted = "", mode: Wanted = ""
) -> Response:
    """The form to subscribe with; an address may say what to."""
    return _form(request, site, {"kind": kind, "value": value, "mode": mode})


@router.post("/subscribe")
def subscribe(
    request: Request,
    site: SiteHere,
    kind: Text = "",
    value: Text = "",
    mode: Text = "",
    cadence: Text = "daily",
    zone: Text = "UTC",
    hour: Number = 7,
    weekday: Number = 0,
    email: Text = "",
) -> Response:
    """Subscribes a reader's confirmed address; mails a link to any other address.

    What it says is the same whatever is known of the address.
    """
    given: dict[str, Any] = {"kind": kind, "value": value, "mode": mode, "email": email}
    given["cadence"] = cadence
    given |= {"zone": zone, "hour": hour, "weekday": weekday}
    reader, now = who(request).reader, utc_now()
    try:
        mailing = mailing_of(site.settings)
        subject, often = checked_subject(kind, value, mode), checked_cadence(cadence)
        hours = checked_hours(zone.strip(), hour, weekday)
        if reader is not None and reader.email is not None:
            subscribe_reader(site.engine, reader, subject, often, now, hours)
            return RedirectResponse(OWN, status_code=303)
        address = client_address(request)
        ask_to_subscribe(
            site.engine, email, subject, often, hours, mailing, address=address, now=now
        )
    except PaperroundError as error:
        return _form(request, site, given, error)
    return render(request, "subscribe.html", is_secret=True, sent="subscribe", section="mail")


@router.post("/subscribe/link")
def send_link(request: Request, site: SiteHere, email: Text = "") -> Response:
    """Mails the link to an address's own page, and says the same whether it has one or not."""
    try:
        ask_for_manage_link(
            site.engine,
            email,
            mailing_of(site.settings),
            site.links_key,
            address=client_address(request),
            now=utc_now(),
        )
    except PaperroundError as error:
        return _form(request, site, {}, error)
    return render(request, "subscribe.html", is_secret=True, sent="link", section="mail")


@router.get("/subscribe/{token}")
def confirm_form(request: Request, site: SiteHere, token: str) -> Response:
    """The button that subscribes. Looking uses nothing up."""
    return _confirm_page(request, asked=_asked(request, site, token))


@router.post("/subscribe/{token}")
def confirm(request: Request, site: SiteHere, token: str) -> Response:
    """Subscribes the address, and shows where to change it."""
    _asked(request, site, token)
    subscriber, asked = confirm_request(site.engine, token, utc_now())
    manage = manage_path(site.links_key, subscriber.id, subscriber.seed)
    return _confirm_page(request, asked=asked, manage=manage)


@router.get("/unsubscribe/{token}")
def stop_form(request: Request, site: SiteHere, token: str) -> Response:
    """The button that ends an address's digests. Looking ends nothing."""
    with read(site.engine) as connection:
        found = subscriber_by_token(connection, token, STOP, site.links_key)
    return _stop_page(request, email=found.email if found else "")


@router.post("/unsubscribe/{token}")
def stop(request: Request, site: SiteHere, token: str) -> Response:
    """Ends an address's digests: pressed on the page, or sent by a mail program (RFC 8058).

    Twice is as good as once, and a link that is none gets the same answer.
    """
    with read(site.engine) as connection:
        found = subscriber_by_token(connection, token, STOP, site.links_key)
    if found is not None:
        end_all(site.engine, found.id)
    return _stop_page(request, email="")


@router.get("/subscriptions/{token}")
def by_link(request: Request, site: SiteHere, token: str) -> Response:
    """What an address gets, for whoever has the link of its digests."""
    return _page(request, site, _linked(request, site, token), f"/subscriptions/{token}")


@router.post("/subscriptions/{token}/add")
def add_by_link(
    request: Request,
    site: SiteHere,
    token: str,
    kind: Text = "",
    value: Text = "",
    mode: Text = "",
    cadence: Text = "daily",
) -> Response:
    """Subscribes the address to something more."""
    held = _linked(request, site, token)
    return _added(request, site, held, f"/subscriptions/{token}", (kind, value, mode, cadence))


@router.post("/subscriptions/{token}/hours")
def hours_by_link(
    request: Request,
    site: SiteHere,
    token: str,
    zone: Text = "",
    hour: Number = 7,
    weekday: Number = 0,
) -> Response:
    """Changes when digests come."""
    held = _linked(request, site, token)
    return _moved(request, site, held, f"/subscriptions/{token}", (zone, hour, weekday))


@router.post("/subscriptions/{token}/{subscription_id}")
def change_by_link(
    request: Request,
    site: SiteHere,
    token: str,
    subscription_id: int,
    act: Text = "",
) -> Response:
    """Makes a subscription daily or weekly, or ends it."""
    held = _linked(request, site, token)
    return _changed(request, site, held, f"/subscriptions/{token}", subscription_id, act)


@router.post("/subscriptions/{token}/act/{act}")
def act_by_link(request: Request, site: SiteHere, token: str, act: str) -> Response:
    """Ends all, or lets a suspended address have its digests again."""
    held = _linked(request, site, token)
    return _acted(request, site, held, f"/subscriptions/{token}", act)


@router.get(OWN)
def own(request: Request, site: SiteHere, reader: ReaderHere) -> Response:
    """What the reader gets by mail."""
    return _page(request, site, _own(site, reader), OWN)


@router.post(f"{OWN}/add")
def add_own(
    request: Request,
    site: SiteHere,
    reader: ReaderHere,
    kind: Text = "",
    value: Text = "",
    mode: Text = "",
    cadence: Text = "daily",
) -> Response:
    """Subscribes the reader to something more."""
    return _added(request, site, _own(site, reader), OWN, (kind, value, mode, cadence))


@router.post(f"{OWN}/hours")
def own_hours(
    request: Request,
    site: SiteHere,
    reader: ReaderHere,
    zone: Text = "",
    hour: Number = 7,
    weekday: Number = 0,
) -> Response:
    """Changes when the reader's digests come."""
    return _moved(request, site, _own(site, reader), OWN, (zone, hour, weekday))


@router.post(f"{OWN}/{{subscription_id}}")
def change_own(
    request: Request, site: SiteHere, reader: ReaderHere, subscription_id: int, act: Text = ""
) -> Response:
    """Makes a subscription of the reader's daily or weekly, or ends it."""
    return _changed(request, site, _own(site, reader), OWN, subscription_id, act)


@router.post(f"{OWN}/act/{{act}}")
def act_own(request: Request, site: SiteHere, reader: ReaderHere, act: str) -> Response:
    """Ends all of the reader's, or lets their address have its digests again."""
    return _acted(request, site, _own(site, reader), OWN, act)


@cache
def zones() -> tuple[str, ...]:
    """The zones that people know: by region and city, and UTC."""
    left_out = ("Etc/", "SystemV/", "US/", "posix/", "right/")
    named = (name for name in available_timezones() if "/" in name)
    return "UTC", *sorted(name for name in named if not name.startswith(left_out))


def _form(
    request: Request, site: Site, given: dict[str, Any], error: PaperroundError | None = None
) -> Response:
    reader = who(request).reader
    hours = Hours()
    if reader is not None:
        held = _own(site, reader)
        hours = held.hours if held else hours
    subject = None
    if given.get("kind"):
        try:
            subject = checked_subject(given["kind"], given["value"], given["mode"])
        except UsageError as wrong:
            error = error or wrong
    return _answered(
        request,
        "subscribe.html",
        error,
        sent="",
        given={"cadence": "daily", "kind": "", "value": "", "mode": "", "email": "", **given},
        hours=Hours(
            str(given.get("zone", hours.zone)),
            int(given.get("hour", hours.hour)),
            int(given.get("weekday", hours.weekday)),
        ),
        subject=subject,
        email=reader.email if reader else None,
        has_mail=site.settings.mail is not None,
        **_choices(),
    )


def _page(
    request: Request,
    site: Site,
    held: Subscriber | None,
    base: str,
    *,
    at: str = "",
    error: PaperroundError | None = None,
) -> Response:
    with read(site.engine) as connection:
        subscriptions = subscriptions_of(connection, held.id) if held else []
    return _answered(
        request,
        "subscriptions.html",
        error,
        base=base,
        held=held,
        subscriptions=subscriptions,
        at=at,
        next_says=said_moment(held.next_at, held.hours) if held and held.next_at else "",
        has_mail=site.settings.mail is not None,
        **_choices(),
    )


def _added(
    request: Request, site: Site, held: Subscriber | None, base: str, asked: tuple[str, ...]
) -> Response:
    kind, value, mode, cadence = asked
    try:
        subject, often = checked_subject(kind, value, mode), checked_cadence(cadence)
        if held is not None:
            add_subscription(site.engine, held.id, subject, often, utc_now())
        else:
            reader = who(request).reader
            assert reader is not None
            subscribe_reader(site.engine, reader, subject, often, utc_now())
    except PaperroundError as error:
        return _page(request, site, held, base, at="add", error=error)
    return RedirectResponse(base, status_code=303)


def _moved(
    request: Request,
    site: Site,
    held: Subscriber | None,
    base: str,
    asked: tuple[str, int, int],
) -> Response:
    zone, hour, weekday = asked
    try:
        set_hours(
            site.engine, _there(held).id, checked_hours(zone.strip(), hour, weekday), utc_now()
        )
    except PaperroundError as error:
        return _page(request, site, held, base, at="hours", error=error)
    return RedirectResponse(base, status_code=303)


def _changed(
    request: Request, site: Site, held: Subscriber | None, base: str, number: int, act: str
) -> Response:
    if act != "end":
        set_cadence(site.engine, _there(held).id, number, checked_cadence(act), utc_now())
    elif not end_subscription(site.engine, _there(held).id, number, utc_now()) and base != OWN:
        return _stop_page(request, email="")
    return RedirectResponse(base, status_code=303)


def _acted(request: Request, site: Site, held: Subscriber | None, base: str, act: str) -> Response:
    if act == "resume":
        resume(site.engine, _there(held).id, utc_now())
    elif act == "end":
        end_all(site.engine, _there(held).id)
        if base != OWN:
            return _stop_page(request, email="")
    else:
        raise NotFoundError(f"nothing can be done by '{act[:20]}'")
    return RedirectResponse(base, status_code=303)


def _own(site: Site, reader: Reader) -> Subscriber | None:
    with read(site.engine) as connection:
        return subscriber_of_reader(connection, reader)


def _there(held: Subscriber | None) -> Subscriber:
    if held is None:
        raise NotFoundError("this address gets nothing; subscribe first")
    return held


def _linked(request: Request, site: Site, token: str) -> Subscriber:
    """Whose link it is; guessing has a limit, beside there being 2^192 of them."""
    with read(site.engine) as connection:
        found = subscriber_by_token(connection, token, MANAGE, site.links_key)
    if found is None:
        _spend_guess(request, site)
        raise NotFoundError("this link leads to no subscriptions; they may have been ended")
    return found


def _asked(request: Request, site: Site, token: str) -> Asked:
    with read(site.engine) as connection:
        try:
            return find_request(connection, token, utc_now())
        except NotFoundError as error:
            wrong = error
    _spend_guess(request, site)
    raise wrong


def _spend_guess(request: Request, site: Site) -> None:
    with write(site.engine) as connection:
        limits.spend(connection, limits.LINKS, client_address(request), utc_now())


def _confirm_page(request: Request, asked: Asked, manage: str = "") -> Response:
    return render(
        request,
        "subscribe_confirm.html",
        is_secret=True,
        section="mail",
        asked=asked,
        says=said_hours(asked.hours, asked.cadence),
        manage=manage,
    )


def _stop_page(request: Request, email: str) -> Response:
    return render(request, "unsubscribe.html", is_secret=True, section="mail", email=email)


def _choices() -> dict[str, Any]:
    return {"kinds": KINDS, "weekdays": list(enumerate(WEEKDAYS)), "zones": zones()}


def _answered(
    request: Request, template: str, error: PaperroundError | None, **context: Any
) -> Response:
    """A form, with what was wrong with it the last time."""
    response = render(
        request,
        template,
        status=error.http_status if error else 200,
        is_secret=True,
        section="mail",
        error=str(error) if error else "",
        **context,
    )
    if isinstance(error, TooOftenError):
        response.headers.update(retry_headers(error))
    return response
