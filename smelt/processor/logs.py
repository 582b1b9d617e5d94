"""Log lines with the smelt id and attempt."""

import logging
from collections.abc import MutableMapping
from typing import Any

from smelt.contract.work import Claim


class SmeltLog(logging.LoggerAdapter[logging.Logger]):
    """A logger for one claim: its id and attempt are in the text, and in the record as `smelt_id` and `attempt`."""

    def __init__(self, logger: logging.Logger, claim: Claim) -> None:
        super().__init__(logger, {"smelt_id": str(claim.id), "attempt": claim.attempt})
        self._prefix = f"smelt {claim.id} attempt {claim.attempt}: "

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Prepend the prefix."""
        return super().process(f"{self._prefix}{msg}", kwargs)
