"""Passwords that leaks have shown to be most used are refused."""

import pytest

from paperround.errors import UsageError
from paperround.readers.common_passwords import common_passwords, is_common
from paperround.readers.secrets import MIN_PASSWORD, check_password


def test_the_list_holds_more_than_the_three_thousand_that_are_asked_for() -> None:
    known = common_passwords()
    assert len(known) >= 3_000
    # Shorter ones are refused for their length.
    assert all(len(password) >= MIN_PASSWORD for password in known)
    assert all(password == password.casefold() for password in known)


@pytest.mark.parametrize(
    "password",
    ["qwertyuiop", "Q1w2e3r4t5", "1Q2W3E4R5T6Y", "basketball", "Manchester2024!", "terminator",
     "iloveyou123", "ＱＷＥＲＴＹＵＩＯＰ"],
)  # fmt: skip
def test_a_common_password_is_refused(password: str) -> None:
    assert is_common(password)
    with pytest.raises(UsageError, match="most used"):
        check_password(password)


@pytest.mark.parametrize(
    "password",
    ["kettle orbit mango 7", "Sieben Ziegen fliegen", "7 kettles, no orbit", "μ-kettle-ο"],
)
def test_a_password_of_one_s_own_is_taken(password: str) -> None:
    assert not is_common(password)
    check_password(password)
