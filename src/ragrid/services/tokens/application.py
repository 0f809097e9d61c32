"""Puts the token service together: store, issuer, endpoints, and the loop that rotates keys."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Route

from ragrid.errors import StateError, UnreachableError
from ragrid.services.tokens.admin import AdminEndpoints
from ragrid.services.tokens.browser import BrowserEndpoints
from ragrid.services.tokens.desk import Desk
from ragrid.services.tokens.devices import Devices
from ragrid.services.tokens.exchange import Exchange
from ragrid.services.tokens.issuer import Issuer
from ragrid.services.tokens.metrics import KEY_AGE, REVOCATIONS, TENDING_FAILED
from ragrid.services.tokens.oauth import OAuthEndpoints
from ragrid.services.tokens.passwords import Passwords
from ragrid.services.tokens.people import PeopleEndpoints
from ragrid.services.tokens.seal import Seal
from ragrid.services.tokens.sign_ins import SignIns
from ragrid.services.tokens.sqlite_engine import make_private
from ragrid.services.tokens.store import Store, open_shared_store, open_store
from ragrid.services.tokens.users import Users
from ragrid.spec.settings import Listen, TokensSettings
from ragrid.system.clock import Clock, SystemClock
from ragrid.system.files import held_lock
from ragrid.web.application import Lifespan, build_application

logger = logging.getLogger(__name__)

NAME = "tokens"
#: At a start, a database that is starting, too, is waited for, seconds; then the supervisor tries again.
DATABASE_WAIT_S = 60.0
DATABASE_RETRY_S = 0.25
#: Between two looks at the clock for rotation, seconds.
TEND_INTERVAL_S = 2.0


def build(settings: TokensSettings, *, clock: Clock | None = None) -> tuple[Starlette, Listen]:
    """Return the application and its address; opens the store at once, so a bad one is refused before anything listens.

    Raises StateError for a damaged store or bad settings, ConflictError when another process has this data directory.
    """
    make_private(settings.data_directory)
    with contextlib.ExitStack() as held:
        if settings.store == "sqlite":
            lock = settings.data_directory / "lock"
            held.enter_context(held_lock(lock, what="the token service"))
        store = _open(settings)
        held.callback(store.close)
        return _application(settings, store, clock or SystemClock(), held=held.pop_all()), settings.listen


def _open(settings: TokensSettings) -> Store:
    if settings.store == "sqlite":
        return open_store(settings.data_directory)
    if settings.database_url_file is None:
        raise StateError("store: got postgresql without database_url_file, wanted the file with the database's address")
    waited_s = 0.0
    while True:
        try:
            return open_shared_store(settings.database_url_file)
        except UnreachableError as error:
            if waited_s >= DATABASE_WAIT_S:
                raise
            if waited_s == 0.0:
                logger.info("waiting for the database", extra={"reason": str(error)})
        time.sleep(DATABASE_RETRY_S)
        waited_s += DATABASE_RETRY_S


@dataclass(frozen=True, slots=True)
class _Parts:
    """What one running token service consists of."""

    settings: TokensSettings
    store: Store
    clock: Clock
    issuer: Issuer
    sign_ins: SignIns
    desk: Desk
    passwords: Passwords

    def tend(self) -> None:
        self.issuer.tend()
        self.sign_ins.tend()


def _application(settings: TokensSettings, store: Store, clock: Clock, *, held: contextlib.ExitStack) -> Starlette:
    issuer = Issuer(settings, store, clock)
    sign_ins = SignIns(settings, store, issuer, clock)
    parts = _Parts(settings, store, clock, issuer, sign_ins, Desk(), Passwords())

    async def readiness() -> Mapping[str, Any]:
        return await parts.desk.do(issuer.probe)

    KEY_AGE.set_function(issuer.keys.age_s)
    REVOCATIONS.set_function(lambda: len(issuer.revoked.tokens))
    public, private = _routes(parts)
    return build_application(
        [*public, *private],
        verifier=issuer.verifier(),
        readiness=readiness,
        name=NAME,
        lifespan=_lifespan(parts, held),
        public=frozenset(route.path for route in public),
    )


def _routes(parts: _Parts) -> tuple[list[Route], list[Route]]:
    """Return the routes that need no bearer token, and those that do."""
    settings, desk, issuer, sign_ins = parts.settings, parts.desk, parts.issuer, parts.sign_ins
    users = Users(parts.store, issuer, parts.clock)
    devices = Devices(settings, parts.store, sign_ins, parts.clock)
    exchange = Exchange(settings, parts.store, issuer, parts.clock)
    browser = BrowserEndpoints(
        settings,
        desk,
        issuer=issuer,
        users=users,
        sign_ins=sign_ins,
        devices=devices,
        passwords=parts.passwords,
        seal=Seal(parts.store.form_key(), parts.clock),
    )
    oauth = OAuthEndpoints(settings, desk, issuer=issuer, sign_ins=sign_ins, devices=devices, exchange=exchange)
    admin = AdminEndpoints(issuer, desk, known_roles=settings.roles).routes()
    people = PeopleEndpoints(users, desk, parts.passwords, known_roles=settings.roles).routes()
    return [*oauth.routes(), *browser.routes()], [*admin, *people]


def _lifespan(parts: _Parts, held: contextlib.ExitStack) -> Lifespan:
    """Return what runs beside the requests, and ends with them; the store is closed last."""

    @contextlib.asynccontextmanager
    async def lifespan(_application: Starlette) -> AsyncIterator[None]:
        news = asyncio.Event()
        loop = asyncio.get_running_loop()
        parts.store.listen(lambda: loop.call_soon_threadsafe(news.set))
        follow = _follow(parts.issuer.follow, news, parts.desk)
        loops = [asyncio.create_task(_tend(parts.tend, parts.desk)), asyncio.create_task(follow)]
        try:
            yield
        finally:
            for each in loops:
                each.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            parts.passwords.close()
            parts.desk.close()
            held.close()
            logger.info("store closed", extra={"store": parts.store.where})

    return lifespan


async def _tend(tend: Callable[[], None], desk: Desk) -> None:
    while True:
        await asyncio.sleep(TEND_INTERVAL_S)
        try:
            await desk.do(tend)
        except Exception:
            # The loop lives on: a full disk today must not mean keys that never change again.
            TENDING_FAILED.inc()
            logger.exception("rotation failed; the keys stay as they are, and it is tried again")


async def _follow(follow: Callable[[], None], news: asyncio.Event, desk: Desk) -> None:
    """Take over at once what other replicas have changed; what is missed here, the next tending finds."""
    while True:
        await news.wait()
        news.clear()
        try:
            await desk.do(follow)
        except Exception:
            # The loop lives on: a database that is away now must not mean that later news are never heard.
            logger.exception("what another replica has changed could not be read; it is tried again")
