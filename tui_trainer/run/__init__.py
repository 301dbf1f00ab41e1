"""One run: its events, its commands and its folder on disk. Imports neither torch nor Textual."""
