"""Log lines that say which smelt and which attempt they are about."""

import logging
from collections.abc import MutableMapping
from typing import Any

from smelt.contract.work import Claim


class SmeltLog(logging.LoggerAdapter[logging.Logger]):
    """A logger for one claim; the id and attempt are in the text, and in the record as `smelt_id` and `attempt`."""

    def __init__(self, logger: logging.Logger, claim: Claim) -> None:
        super().__init__(logger, {"smelt_id": str(claim.id), "attempt": claim.attempt})
        self._prefix = f"smelt {claim.id} attempt {claim.attempt}: "

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Put the prefix in front."""
        return super().process(f"{self._prefix}{msg}", kwargs)
