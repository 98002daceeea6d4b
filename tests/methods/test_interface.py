"""Settings from plain values: what is refused is named in words for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import pytest
from annotated_types import Ge

from methods import registry
from methods.interface import Method, SettingsError, make_settings


@dataclass(frozen=True)
class Settings:
    """Settings of every kind that has alternatives."""

    rate: Annotated[float, Ge(0.0)] | Literal["auto"] = 0.1
    limit: float | None = None
    widths: tuple[Annotated[int, Ge(1)] | Literal["auto"], ...] = (8,)
    grids: tuple[tuple[int, ...] | float, ...] = ()


class Own(Method):
    name = "own"
    Settings: ClassVar[type] = Settings

    def fit(self, demonstrations: Any, context: Any) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("values", "place", "allowed"),
    [
        ({"rate": "abc"}, "own.rate = 'abc': ", ["a valid number", "or should be 'auto'"]),
        ({"rate": -1}, "own.rate = -1: ", ["greater than or equal to 0", "or should be 'auto'"]),
        ({"limit": "abc"}, "own.limit = 'abc': ", ["a valid number"]),
        ({"widths": [2, 0]}, "own.widths.1 = 0: ", ["greater than or equal to 1", "or should be 'auto'"]),
        ({"widths": 3}, "own.widths = 3: ", ["a valid tuple"]),
        ({"grids": [[1, "x"]]}, "own.grids.0.1 = 'x': ", ["a valid integer"]),
    ],
)
def test_a_refused_value_is_named_without_the_names_of_types(
    values: dict[str, Any], place: str, allowed: list[str]
) -> None:
    with pytest.raises(SettingsError) as refused:
        make_settings(Own, values)
    message = str(refused.value)
    assert message.startswith(place) and all(words in message for words in allowed)
    assert not any(name in message for name in ("constrained", "literal[", "tuple[", "union", "function-"))


def test_shipped_settings_with_alternatives() -> None:
    with pytest.raises(SettingsError, match=r"^bc\.l2 = 'abc': .* or should be 'auto'$"):
        make_settings(registry.resolve("bc"), {"l2": "abc"})
