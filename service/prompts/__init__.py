"""Conversation -> tokens: the model's own chat template, and text that stays text."""
