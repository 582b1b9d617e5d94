"""Outputs by a language model, over any endpoint that speaks the protocol of OpenAI."""
