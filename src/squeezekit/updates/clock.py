"""What time it is, on machines whose clock may be wrong: many start at 1970 until a network has told them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ..system.console import say
from ..system.errors import SqueezekitError

# The year of this release: no clock that is right shows an earlier one.
RELEASED = datetime(2026, 1, 1, tzinfo=UTC)
# By then another squeezekit signs.
SIGNS_UNTIL = datetime(2037, 1, 1, tzinfo=UTC)
# Clocks that are right differ by less.
SLACK = timedelta(days=1)


def now() -> datetime:
    """The time of this machine's clock, in UTC."""
    return datetime.now(UTC)


def shown_time(time: datetime) -> str:
    """A time in UTC as people read it."""
    return f"{time:%Y-%m-%d %H:%M} UTC"


def not_before(latest: datetime | None) -> datetime:
    """The time for judging what has expired: that of the clock, or, where that is certainly earlier, one that has been; says so.

    `latest` is a time at which this device has found current metadata.
    """
    time, bound = now(), max(RELEASED, latest - SLACK if latest else RELEASED)
    if time >= bound:
        return time
    say(f"the clock of this device shows {shown_time(time)}, but it is later than {shown_time(bound)}; set it")
    return bound


def time_to_sign() -> datetime:
    """The time for signing; raises SqueezekitError where the clock is years off."""
    if not RELEASED <= (time := now()) <= SIGNS_UNTIL:
        raise SqueezekitError(
            f"the clock of this machine shows {shown_time(time)}, and this squeezekit signs from {RELEASED.year} to "
            f"{SIGNS_UNTIL.year}: devices would refuse what is signed, or trust it for too long; set the clock"
        )
    return time
