import pytest

from cryptocast.serving.endpoints import PATHS
from cryptocast.serving.health import COMPONENTS
from cryptocast.serving.paths import OTHER, Paths

TABLE = Paths(PATHS)


@pytest.mark.parametrize("path", [path for path in PATHS if "{" not in path])
def test_a_path_leads_to_its_endpoint_and_is_its_own_label(path: str) -> None:
    assert TABLE.find(path) == (path, PATHS[path])


def test_a_path_with_a_name_leads_to_its_template_so_that_labels_stay_few() -> None:
    template = "/health/components/{name}"
    assert {TABLE.find(f"/health/components/{name}") for name in ("cache", "store", "nothing")} == {
        (template, PATHS[template])
    }


@pytest.mark.parametrize("path", ["", "/nowhere", "/forecasts/", "/health/components/cache/more", "/admin"])
def test_what_is_not_served_has_one_label(path: str) -> None:
    assert TABLE.find(path) == (OTHER, None)


def test_what_endpoints_rest_on_are_components_and_each_of_them_but_the_last_resort_is_named() -> None:
    named = {part for endpoint in PATHS.values() for part in endpoint.rests_on}
    assert named == set(COMPONENTS)
    assert TABLE.resting_on("upstream") == ("/prices",)
