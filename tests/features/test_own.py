"""A user's file of features: read with care, refused with the file, the line and what to do."""

import textwrap
from collections.abc import Callable

import polars as pl
import pytest

from cryptocast.data.schema import BAR_US
from cryptocast.errors import ConfigError
from cryptocast.features.builder import add_features
from cryptocast.features.catalogue import FEATURES
from cryptocast.features.own import catalogue_set, with_own

MakeBars = Callable[..., pl.DataFrame]
GOOD = """
import polars as pl
from cryptocast.features import Feature

CLOSE = pl.col("close")

FEATURES = (
    Feature("my_gap", "price", (CLOSE / CLOSE.shift(3)).log(), warmup=3, memory=3, source="mine", unit="log"),
    Feature("my_rank", "market", CLOSE.rank(), warmup=0, memory=0, source="mine", unit="share", scope="moment"),
)
"""


def said(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        with_own(textwrap.dedent(text), "/home/ada/my_features.py")
    assert "\n" not in str(caught.value)
    assert "my_features.py" in str(caught.value)
    return str(caught.value)


def test_the_features_stand_behind_the_catalogue_and_know_their_lines() -> None:
    found = with_own(GOOD, "my_features.py")
    assert found.features[: len(FEATURES)] == FEATURES
    assert found.names[len(FEATURES) :] == ("my_gap", "my_rank")
    assert dict(found.own) == {"my_gap": 8, "my_rank": 9}
    assert found.where("my_rank") == " of my_features.py, line 9,"
    assert found.where("ret_1") == ""


def test_they_are_computed_by_the_same_builder(make_bars: MakeBars) -> None:
    found = with_own(GOOD, "my_features.py")
    table = add_features(make_bars(60).lazy(), found.features, bar_us=BAR_US["daily"]).collect()
    assert table["my_gap"].to_list() == pytest.approx(table["ret_3"].to_list(), nan_ok=True)
    assert table["my_rank"].max() == 4.0


def test_the_digest_follows_what_is_computed_and_not_how_it_is_laid_out() -> None:
    digest = with_own(GOOD, "my_features.py").digest
    assert digest != catalogue_set().digest
    assert with_own(GOOD, "elsewhere.py").digest == digest
    assert with_own("# a comment\n\n" + GOOD.replace("shift(3)", "shift( 3 )"), "my_features.py").digest == digest
    assert with_own(GOOD.replace("shift(3)", "shift(2)"), "my_features.py").digest != digest
    assert with_own(GOOD.replace("memory=3", "memory=4"), "my_features.py").digest != digest


def test_a_formula_with_a_python_function_is_named_by_the_text_alone() -> None:
    text = GOOD.replace("CLOSE.rank()", "CLOSE.map_batches(lambda values: values.rank(), return_dtype=pl.Float64)")
    assert with_own(text, "a.py").digest == with_own(text, "b.py").digest != with_own(GOOD, "a.py").digest


def line(name: str = '"my_gap"', expr: str = 'pl.col("close").log()', more: str = "", family: str = '"price"') -> str:
    facts = "warmup=0, memory=0, source='mine', unit='log'" if "warmup" not in more else "source='mine', unit='log'"
    return (
        "import polars as pl\nfrom cryptocast.features import Feature\n"
        f"FEATURES = (\n    Feature({name}, {family}, {expr}, {facts}{more}),\n)\n"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = (\n", "line 1: this is not Python: '(' was never closed"),
        ("x = 1\ny = 1 / 0\n", "line 2: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit('bye')\n", "line 2: SystemExit: bye"),
        ("import no_such_module\n", "line 1: ModuleNotFoundError: No module named 'no_such_module'"),
        ("x = 1\n", "defines no FEATURES. Write FEATURES = ("),
        ("\nFEATURES = 3\n", "line 2: FEATURES is int, expected a tuple"),
        ("FEATURES = ()\n", "FEATURES is empty"),
        ("FEATURES = ('ret',)\n", "entry 1 of FEATURES is str, expected Feature(...)"),
        (line().replace("),\n)", "))"), "line 3: FEATURES is one Feature, not a table. Add a comma"),
        (line(name="'ret_1'"), "line 4: the name ret_1 is taken: it is in the catalogue. Choose another"),
        (line(name="'close'"), "line 4: the name close is taken: it is a column of the candles"),
        (line(name="'My gap'"), "name is 'My gap', expected lower-case letters"),
        (line(family="'astrology'"), "line 4: my_gap: family is 'astrology', expected one of price, technical"),
        (line(expr="3"), "line 4: my_gap: expr is int, expected a Polars expression"),
        (line(expr="pl.all()"), "expr gives several columns"),
        (
            line(expr="pl.col('clsoe')"),
            "expr reads 'clsoe', which candles do not have; columns: coin, close_time, open",
        ),
        (line(expr="pl.col('close').str.to_uppercase()"), "line 4: my_gap cannot be computed: "),
        (line(expr="pl.col('close').map_batches(lambda s: 1 / 0)"), "my_gap cannot be computed: "),
        (line(more=", warmup=-1, memory=0"), "warmup is -1, expected a whole number of bars"),
        (line(more=", warmup=1.5, memory=0"), "warmup is 1.5, expected a whole number"),
        (line(more=", scope='week'"), "scope is 'week', expected one of coin, segment, moment"),
        (line(more=", needs={'moon'}"), "expected some of bar_volume"),
        (line(more=", needs='range'"), "needs is 'range', expected some of"),
        (line(more=", lenient=1"), "lenient is 1, expected True or False"),
        ("from cryptocast.features import Feature\nFEATURES = (\n    Feature('a'),\n)\n", "line 3: TypeError: "),
    ],
)
def test_a_mistake_is_named_with_its_line_and_what_to_do(text: str, words: str) -> None:
    assert words in said(text)


def test_a_name_that_stands_twice_is_refused() -> None:
    twice = GOOD.replace('"my_rank"', '"my_gap"')
    assert "the name my_gap is taken: it is twice in FEATURES" in said(twice)


def test_dataclasses_work_in_the_file_and_nothing_of_it_stays_behind() -> None:
    import sys

    text = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\n"
        + GOOD
    )
    assert with_own(text, "my_features.py").own
    assert "cryptocast_own_features" not in sys.modules
