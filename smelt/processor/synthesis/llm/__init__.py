"""Outputs by a language model, over any endpoint with the API of OpenAI."""
