"""Training: methods and objectives at work, the loop, checkpoints. `studio.train.run.train` is the way in."""
