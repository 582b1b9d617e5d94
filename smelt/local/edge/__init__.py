"""What the platform's gateway does before a service sees a request: keys, CORS, and paths that nobody serves."""
