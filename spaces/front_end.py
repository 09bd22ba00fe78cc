"""The audio front end as dimensions of any search space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .errors import UserError
from .space import FRONT_END, FRONT_END_PREFIX, Choice, Parameter, SearchSpace, Wrapper


@dataclass(frozen=True)
class WithFrontEnd(Wrapper):
    """Another space, of whose candidates each has a front end of its own."""

    front_end: Mapping[str, Choice]
    """By field of the front end."""

    @classmethod
    def of(cls, space: SearchSpace, settings: object) -> WithFrontEnd:
        """Return the space with the config's ``front_end``: a list of numbers, or one, for each field."""
        if not isinstance(settings, Mapping) or not settings:
            raise UserError(f"space.{FRONT_END} {settings!r}: must be fields with their options (try bands: [20, 40])")
        if own := [field for field in settings if field in space.front_end_options()]:
            raise UserError(f"space.{FRONT_END}.{own[0]}: {space.name} has this dimension itself (take the key out)")
        return cls(space, {str(field): _front_end_choice(field, setting) for field, setting in settings.items()})

    def own_parameters(self) -> tuple[Parameter, ...]:
        return tuple(Parameter(FRONT_END_PREFIX + field, choice) for field, choice in self.front_end.items())


def _front_end_choice(field: str, setting: object) -> Choice:
    options = setting if isinstance(setting, list | tuple) else (setting,)
    place = f"space.{FRONT_END}.{field} {setting!r}"
    if not options or not all(isinstance(o, int | float) and not isinstance(o, bool) for o in options):
        raise UserError(f"{place}: must be a number or a list of numbers")
    # 10 and 10.0 are the same option, however a config writes it.
    whole = tuple(int(o) if float(o).is_integer() else o for o in options)
    if len(set(whole)) < len(whole):
        raise UserError(f"{place}: names an option twice")
    return Choice(whole)
