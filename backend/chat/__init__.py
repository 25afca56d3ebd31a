"""The chat engine: one base model once, its adapters beside it, OpenAI's protocol.

`engine` is the process on loopback that the playground uses, `service` what the facade uses of it; a job of
kind `serve` answers with the same parts. Only `answering` imports torch, and only in its
thread.
"""
