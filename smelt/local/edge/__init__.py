"""The parts of the gateway in front of the services: API keys, routing, the REST proxy, and unknown paths."""
