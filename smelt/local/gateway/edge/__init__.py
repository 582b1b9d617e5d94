"""The parts of the gateway in front of the services: API keys, origins, the REST proxy, and unknown paths."""
