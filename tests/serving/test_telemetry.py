from cryptocast.net import Try
from cryptocast.serving.telemetry import BUCKETS, Telemetry


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
