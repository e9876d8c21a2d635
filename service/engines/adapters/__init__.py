"""LoRA adapters: finding their files, checking them before an engine reads them, serving them, remembering them."""
