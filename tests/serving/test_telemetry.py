import math

from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.net import Try
from cryptocast.serving.telemetry import BUCKETS, DAY_MINUTES, Minute, Telemetry, trends


def minute(telemetry: Telemetry, **changes: float) -> None:
    sockets = {"CLOSE_WAIT": int(changes["close_wait"])} if "close_wait" in changes else {}
    telemetry.close_minute(rss_mb=changes.get("rss_mb", 100.0), descriptors=20, sockets=sockets, open_breakers=0)


@settings(max_examples=50)
@given(st.lists(st.floats(0.0, 9.0), min_size=1, max_size=300))
def test_percentiles_are_the_upper_ends_of_the_buckets_that_hold_them(seconds: list[float]) -> None:
    telemetry = Telemetry()
    for value in seconds:
        telemetry.answered("GET", "/forecasts", 200, value)
    minute(telemetry)

    ordered = sorted(seconds)
    for share, told in ((0.5, telemetry.minutes[-1].p50_ms), (0.99, telemetry.minutes[-1].p99_ms)):
        true = ordered[math.ceil(share * len(ordered)) - 1]
        assert told is not None
        assert told == min(bound for bound in BUCKETS if bound >= true) * 1e3


def test_the_ring_holds_a_day_and_no_more() -> None:
    telemetry = Telemetry()
    for _ in range(DAY_MINUTES + 100):
        minute(telemetry)
    assert len(telemetry.minutes) == DAY_MINUTES


def test_each_minute_counts_its_own() -> None:
    telemetry = Telemetry()
    telemetry.answered("GET", "/forecasts", 200, 0.001)
    telemetry.answered("GET", "/forecasts", 503, 0.001)
    telemetry.count("fallback", "baseline", 3)
    telemetry.lagged(0.2)
    telemetry.lagged(0.1)
    minute(telemetry)
    minute(telemetry)
    first, second = telemetry.minutes

    assert (first.requests, first.errors, first.fallbacks, first.loop_lag_ms) == (2, 1, 3, 200.0)
    assert (second.requests, second.errors, second.fallbacks, second.p99_ms) == (0, 0, 0, None)


def test_trends_say_which_way_it_goes() -> None:
    telemetry = Telemetry()
    for number in range(20):
        telemetry.answered("GET", "/forecasts", 200, 0.001 if number < 10 else 0.2)
        telemetry.count("fallback", "baseline", 1 if number < 10 else 0)
        minute(telemetry, rss_mb=100.0 + 0.1 * number)
    found = trends(tuple(telemetry.minutes))

    assert found["p99_ms"].direction == "worse"
    assert found["fallbacks"].direction == "better"
    assert found["rss_mb"].direction == "steady"
    assert found["errors"].direction == "steady"


def test_every_number_of_a_minute_has_its_trend_and_requests_are_more_or_fewer() -> None:
    telemetry = Telemetry()
    for number in range(20):
        for _ in range(number):
            telemetry.answered("GET", "/forecasts", 200, 0.001)
        minute(telemetry, close_wait=number)
    found = trends(tuple(telemetry.minutes))

    assert set(Minute.__struct_fields__) - {"at", "sockets"} <= set(found)
    assert found["requests"].direction == "more"
    assert found["sockets_close_wait"].direction == "worse"


def test_the_buckets_are_those_of_opentelemetry_and_finer_ones_where_most_answers_lie() -> None:
    of_otel = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
    assert set(of_otel) < set(BUCKETS)
    assert len([bound for bound in BUCKETS if bound < 0.005]) >= 4


def test_methods_that_clients_make_up_take_no_memory() -> None:
    telemetry = Telemetry()
    for number in range(1000):
        telemetry.answered(f"METHOD-{number}", "_OTHER", 404, 0.1)
    assert len(telemetry._children) == 1


def test_calls_to_the_upstream_are_told_by_their_work_and_the_class_of_their_status() -> None:
    telemetry = Telemetry()
    for status in (200, 404, 429, 500, 503, None):
        telemetry.tried("prices", Try("CoinGecko", 1, status, 0.2))
    text = telemetry.render().decode()

    for told, number in (("2xx", 1), ("4xx", 1), ("429", 1), ("5xx", 2), ("none", 1)):
        assert f'duration_seconds_count{{status="{told}",work="prices"}} {number}.0' in text


def test_without_enough_minutes_nothing_is_claimed() -> None:
    assert {trend.direction for trend in trends([]).values()} == {"unknown"}


def test_a_scrape_of_many_series_is_quick_and_has_bounded_labels() -> None:
    telemetry = Telemetry()
    for number in range(50):
        telemetry.answered(f"METHOD-{number}", "_OTHER", 404, 0.1)
    text = telemetry.render().decode()

    assert "METHOD-" not in text
    assert text.count('method="_OTHER"') > 0
    assert "http_server_active_requests 0.0" in text


def test_what_the_loop_owns_is_looked_at_before_a_thread_writes_it() -> None:
    telemetry = Telemetry()
    owned = {"a": 1.0}
    telemetry.samples.append(lambda: ((f"of_loop_{name}", "x", {}, value) for name, value in owned.items()))
    telemetry.slow_samples.append(lambda: iter([("of_file", "x", {}, 2.0)]))
    looked = telemetry.look()
    owned["b"] = 3.0
    text = telemetry.render(looked).decode()

    assert "of_loop_a 1.0" in text
    assert "of_file 2.0" in text
    assert "of_loop_b" not in text
