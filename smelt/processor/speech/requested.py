"""The options of a smelt in its worker: parsed once, and compared with the model of the worker. Pure."""

from collections.abc import Sequence
from typing import Any, Final

from pydantic import ValidationError

from smelt.contract.options import SmeltOptions

# Parts of the names of models that were trained without translations.
_NOT_TRANSLATING: Final = ("turbo", "distil")


def parsed_options(options: dict[str, Any]) -> tuple[SmeltOptions, str | None]:
    """Parse the options of a claim; return the defaults and a sentence if one is unknown here, or has such a value."""
    try:
        return SmeltOptions.model_validate(options), None
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_input=False)[0]
    name = str(error["loc"][0]) if error["loc"] else "options"
    if error["type"] == "extra_forbidden":
        return SmeltOptions(), f'The worker does not know the option "{name}"; it needs a newer version of smelt.'
    return SmeltOptions(), f'The worker does not accept this value of the option "{name}".'


def issue_of(requested: SmeltOptions, model: str, languages: Sequence[str]) -> str | None:
    """Return a sentence about the first option that a model can't honor, else None.

    Args:
        requested: the options of a smelt.
        model: the name of the model.
        languages: the codes of the languages that the model knows.
    """
    code = requested.language
    if code is not None and code not in languages:
        if len(languages) == 1:
            return f'The model {model} knows English only; request another model, or omit the option "language".'
        return f'The model {model} does not know the language "{code}" of the option "language".'
    if requested.task == "translate":
        if len(languages) == 1:
            return f'The model {model} knows English only; request another model, or omit the option "task".'
        if any(part in model.casefold() for part in _NOT_TRANSLATING):
            return f'The model {model} was not trained to translate; request another model, or omit the option "task".'
    return None
