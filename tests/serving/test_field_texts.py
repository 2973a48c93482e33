from cryptocast.serving.field_texts import FIELD_TEXTS, PARAMETERS, text_of
from tests.serving.test_openapi import DOCUMENT

SCHEMAS = DOCUMENT["components"]["schemas"]
FIELDS = {(kind, name) for kind, schema in SCHEMAS.items() for name in schema.get("properties", {})}


def test_no_text_is_about_a_field_that_there_is_not() -> None:
    used = {f"{kind}.{name}" if f"{kind}.{name}" in FIELD_TEXTS else name for kind, name in FIELDS}
    assert set(FIELD_TEXTS) - used == set()
    operations = [one for methods in DOCUMENT["paths"].values() for one in methods.values()]
    assert set(PARAMETERS) == {
        one["name"] for operation in operations for one in operation["parameters"] if one["in"] == "query"
    }


def test_the_text_of_a_type_goes_before_that_of_the_name() -> None:
    assert text_of("Detail", "version") == ("Version of cryptocast.", "1.0.0")
    assert text_of("Detail", "uptime_s")[0] == "Seconds since the start."
    assert text_of("Detail", "nobody_has_described_it") == ("", None)
