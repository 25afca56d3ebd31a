"""The fine-tuning library: models, methods, objectives, data, memory, training, generation."""
