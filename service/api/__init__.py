"""The shapes of requests and answers, named as in the Llama Stack Inference API.

Pydantic models for what callers send, frozen slotted dataclasses for what streams out. Knows neither protobuf nor
engines; `None` means "not set" wherever the contract tells unset from zero.
"""
