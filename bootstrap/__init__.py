"""What `launch.py` does before the studio itself can run: the installation and the way in. Standard library
only.

Modules that only an installation needs are imported where they are needed, so that a prepared .venv costs a
start next to nothing.
"""
