"""The use cases: chat (read this first), completion, embeddings. Knows neither gRPC nor vLLM."""
