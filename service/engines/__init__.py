"""What runs models. `base` says what an engine is; `vllm` and `scripted` are engines; `registry` finds them by name."""
