import math

from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.serving.telemetry import BUCKETS, Telemetry
from cryptocast.serving.trends import DAY_MINUTES, Minute, Pulse, trends


def pulse_of(telemetry: Telemetry) -> Pulse:
    return Pulse(telemetry, lambda: 0)


@settings(max_examples=50)
@given(st.lists(st.floats(0.0, 9.0), min_size=1, max_size=300))
def test_percentiles_are_the_upper_ends_of_the_buckets_that_hold_them(seconds: list[float]) -> None:
    telemetry = Telemetry()
    pulse = pulse_of(telemetry)
    for value in seconds:
        telemetry.answered("GET", "/forecasts", 200, value)
    pulse.close_minute({})

    ordered = sorted(seconds)
    for share, told in ((0.5, pulse.minutes[-1].p50_ms), (0.99, pulse.minutes[-1].p99_ms)):
        true = ordered[math.ceil(share * len(ordered)) - 1]
        assert told is not None
        assert told == min(bound for bound in BUCKETS if bound >= true) * 1e3


def test_the_ring_holds_a_day_and_no_more() -> None:
    telemetry = Telemetry()
    pulse = pulse_of(telemetry)
    for _ in range(DAY_MINUTES + 100):
        pulse.close_minute({})
    assert len(pulse.minutes) == DAY_MINUTES


def test_each_minute_counts_its_own() -> None:
    telemetry = Telemetry()
    pulse = pulse_of(telemetry)
    telemetry.answered("GET", "/forecasts", 200, 0.001)
    telemetry.answered("GET", "/forecasts", 503, 0.001)
    telemetry.count("fallback", "baseline", 3)
    pulse.lagged(0.2)
    pulse.lagged(0.1)
    pulse.close_minute({})
    pulse.close_minute({})
    first, second = pulse.minutes

    assert (first.requests, first.errors, first.fallbacks, first.loop_lag_ms) == (2, 1, 3, 200.0)
    assert (second.requests, second.errors, second.fallbacks, second.p99_ms) == (0, 0, 0, None)


def test_trends_say_which_way_it_goes() -> None:
    telemetry = Telemetry()
    pulse = pulse_of(telemetry)
    for number in range(20):
        telemetry.answered("GET", "/forecasts", 200, 0.001 if number < 10 else 0.2)
        telemetry.count("fallback", "baseline", 1 if number < 10 else 0)
        pulse.close_minute({})
    found = trends(tuple(pulse.minutes))

    assert found["p99_ms"].direction == "worse"
    assert found["fallbacks"].direction == "better"
    assert found["rss_mb"].direction == "steady"
    assert found["errors"].direction == "steady"


def test_every_number_of_a_minute_has_its_trend_and_requests_are_more_or_fewer() -> None:
    telemetry = Telemetry()
    pulse = pulse_of(telemetry)
    for number in range(20):
        for _ in range(number):
            telemetry.answered("GET", "/forecasts", 200, 0.001)
        pulse.close_minute({"CLOSE_WAIT": number})
    found = trends(tuple(pulse.minutes))

    assert set(Minute.__struct_fields__) - {"at", "sockets"} <= set(found)
    assert found["requests"].direction == "more"
    assert found["sockets_close_wait"].direction == "worse"


def test_without_enough_minutes_nothing_is_claimed() -> None:
    assert {trend.direction for trend in trends([]).values()} == {"unknown"}
