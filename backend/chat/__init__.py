"""The chat engine: one base model once, its adapters beside it, OpenAI's chat-completions protocol on
loopback.

`engine` is the process, `service` what the facade uses. Only `answering` imports torch, and only in its
thread.
"""
