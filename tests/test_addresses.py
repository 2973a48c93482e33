import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.addresses import shown_address, without_logins


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://api.coingecko.com/api/v3", "https://api.coingecko.com/api/v3"),
        ("http://127.0.0.1:8900/api/v3", "http://127.0.0.1:8900/api/v3"),
        ("https://ann:hunter2@host/api", "https://***@host/api"),
        ("https://token@host", "https://***@host"),
        ("postgresql+psycopg://ann:p@ss/w#rd?x@db:5432/studies", "postgresql+psycopg://***@db:5432/studies"),
        ("sqlite:////home/ann@work/studies.db", "sqlite:////home/ann@work/studies.db"),
        ("https://host/people/ann@work", "https://host/people/ann@work"),
        ("tcp://ann:hunter2@10.0.0.5:8786", "tcp://***@10.0.0.5:8786"),
        ("ann:hunter2@host:80", "***@host:80"),
        ("postgresql:///db?host=h&password=hunter2&x=1", "postgresql:///db?host=h&password=***&x=1"),
        ("https://host/?x_cg_pro_api_key=abc", "https://host/?x_cg_pro_api_key=***"),
        ("bogus", "bogus"),
    ],
)
def test_an_address_is_shown_without_its_login(address: str, shown: str) -> None:
    assert shown_address(address) == shown
    if "://" in address:
        assert without_logins(f"no answer from '{address}'") == f"no answer from '{shown}'"


@given(st.text(alphabet=st.characters(exclude_characters="/")), st.text(min_size=1))
def test_no_password_survives(user: str, password: str) -> None:
    secret = f"<<{password}>>"
    assert secret not in shown_address(f"https://{user}:{secret}@host/path")


@given(st.text())
def test_a_text_without_an_address_stays_as_it_is(text: str) -> None:
    assert "://" in text or without_logins(text) == text
