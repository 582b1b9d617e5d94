"""Webhooks: signed HTTP requests to addresses that strangers have chosen.

deliveries   claims due deliveries, sends four at a time, settles them
sender       signs a request, sends it, and limits its time and its response
addresses    connects to public addresses alone
"""

from smelt.processor.webhooks.deliveries import Deliveries
from smelt.processor.webhooks.sender import Sender

__all__ = ["Deliveries", "Sender"]
